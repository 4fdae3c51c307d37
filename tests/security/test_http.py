"""Requests that are malformed, ambiguous, endless, or larger than they may be."""

import gzip
import json

import httpx
import pytest

from tests.security.raw import (
    answer_to,
    connect,
    received,
    request,
    resident_bytes,
    send_until_refused,
    status_of,
)
from tests.security.targets import Target

CREATE = "/api/2.0/mlflow/runs/create"
JSON = "Content-Type: application/json"
MIB = 1 << 20

# Each might be read in two ways, by a proxy and by this server: then `GET /smuggled` is a request
# of its own for one of them.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
AMBIGUOUS = {
    "length and chunks": (["Content-Length: 6", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    "two lengths": (["Content-Length: 2", "Content-Length: 40"], b"{}"),
    "a list of lengths": (["Content-Length: 2, 40"], b"{}"),
    "a signed length": (["Content-Length: +2"], b"{}"),
    "a negative length": (["Content-Length: -2"], b"{}"),
    "a length that overflows": (["Content-Length: 18446744073709551618"], b"{}"),
    "an unknown coding": (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
    "chunked, and then another": (
        ["Transfer-Encoding: chunked, identity"],
        b"2\r\n{}\r\n0\r\n\r\n",
    ),
    "chunked twice": (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n"),
    "a space before the colon": (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    "a folded header": (["Transfer-Encoding:\r\n chunked"], b"0\r\n\r\n"),
    "a signed chunk": (["Transfer-Encoding: chunked"], b"+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk of hex with 0x": (["Transfer-Encoding: chunked"], b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk that overflows": (["Transfer-Encoding: chunked"], b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk ended by LF": (["Transfer-Encoding: chunked"], b"2\n{}\n0\n\n"),
    "a bare CR": (["X: y\rTransfer-Encoding: chunked"], b"0\r\n\r\n"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_request_smuggling(local_target: Target, name: str) -> None:
    headers, body = AMBIGUOUS[name]
    sent = f"POST {CREATE} HTTP/1.1\r\nHost: localhost\r\n" + "".join(
        f"{header}\r\n" for header in [JSON, *headers]
    )
    answer = answer_to(local_target.url, sent.encode() + b"\r\n" + body + SMUGGLED)
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\nHost: localhost\n\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: a\x00b\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: a\r\n b\r\n\r\n",
        b"GET /hea lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"\x00" * 1000,
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["LF", "NUL", "folded", "space", "HTTP/2", "TLS", "zeros", "bytes in a path"],
)
def test_what_is_no_http(local_target: Target, sent: bytes) -> None:
    assert status_of(answer_to(local_target.url, sent)) == 400


@pytest.mark.parametrize("header", ["Upgrade: websocket", "Upgrade: h2c", "Expect: 200-ok"])
def test_headers_that_ask_for_another_protocol(local_target: Target, header: str) -> None:
    sent = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\n%s\r\n\r\n"
    assert status_of(answer_to(local_target.url, sent % header.encode())) in (200, 400, 417, 426)


def test_a_very_long_url(local_target: Target) -> None:
    for path in ("/" + "a" * MIB, "/health?" + "a" * MIB, "/t/" + "a" * 60_000 + "/health"):
        with connect(local_target.url) as connection:
            send_until_refused(connection, request("GET", path), 1)
            answer = received(connection)
        assert not answer or status_of(answer) in (200, 400, 404, 414, 431)
    assert httpx.get(f"{local_target.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X-Flood: y\r\n" * 5000),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Flood: ", b"y" * 65536),
        (b"GET /", b"a" * 65536),
    ],
    ids=["headers", "one header", "a path"],
)
def test_what_never_ends_before_the_body(local_target: Target, begin: bytes, piece: bytes) -> None:
    """It is refused long before it fills the memory, also where its sender reads no answer before
    all is sent."""
    before = resident_bytes(local_target.pid)
    with connect(local_target.url) as connection:
        connection.sendall(begin)
        assert send_until_refused(connection, piece, 100 * MIB) >= 100 * MIB
        assert resident_bytes(local_target.pid) - before < 16 * MIB
        assert status_of(received(connection)) == 431
    assert httpx.get(f"{local_target.url}/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        CREATE,
        "/api/2.0/mlflow/runs/log-batch",
        "/api/2.0/mlflow/logged-models/search",
        "/api/v1/experiments",
        "/api/v1/experiments/runs/" + "0" * 32 + "/log-batch",
    ],
)
@pytest.mark.parametrize("how", ["declared", "chunked"])
def test_a_json_body_of_100_mb(local_target: Target, path: str, how: str) -> None:
    """It is refused for its size and not kept; the answer reaches who sends all before it reads."""
    before = resident_bytes(local_target.pid)
    size, piece = 100 * MIB, b'"' + b"a" * 65534 + b'"'
    with connect(local_target.url) as connection:
        if how == "declared":
            connection.sendall(request("POST", path, JSON, f"Content-Length: {size}"))
            send_until_refused(connection, piece, size)
        else:
            connection.sendall(request("POST", path, JSON, "Transfer-Encoding: chunked"))
            send_until_refused(connection, b"10000\r\n" + piece + b"\r\n", size)
        answer = received(connection)
    assert status_of(answer) in (400, 413), answer
    assert resident_bytes(local_target.pid) - before < 80 * MIB
    assert httpx.get(f"{local_target.url}/health").status_code == 200


def test_a_compressed_body_is_not_unpacked(local_target: Target) -> None:
    """No client of MLflow's compresses what it sends here, so nothing has to be unpacked: a bomb
    stays as small as it came."""
    bomb = gzip.compress(b'{"experiment_id": "0"}' + b" " * (64 * MIB))
    before = resident_bytes(local_target.pid)
    for path in (CREATE, "/api/v1/experiments"):
        for coding in ("gzip", "deflate", "br", "zstd"):
            answer = httpx.post(
                f"{local_target.url}{path}",
                content=bomb,
                headers={"content-type": "application/json", "content-encoding": coding},
            )
            assert answer.status_code in (400, 415), answer.text
    assert resident_bytes(local_target.pid) - before < 16 * MIB


def test_a_compressed_artifact_is_stored_as_it_came(local_target: Target, slug: str) -> None:
    bomb = gzip.compress(bytes(MIB))
    with local_target.client(slug) as client:
        run = client.post(CREATE, json={}).json()["run"]["info"]
        root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        url = f"/api/2.0/mlflow-artifacts/artifacts/{root}/bomb.gz"
        sent = client.put(url, content=bomb, headers={"content-encoding": "gzip"})
        assert sent.status_code in (200, 415)
        if sent.status_code == 200:
            assert client.get(url).content == bomb


@pytest.mark.parametrize("depth", [1_000, 100_000, 3_000_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"], ids=["arrays", "objects"])
def test_deep_json(local_target: Target, depth: int, brackets: str) -> None:
    opened = "[" if brackets == "[]" else '{"a":'
    nested = opened * depth + "1" + brackets[1] * depth
    for path, field in (
        (CREATE, "tags"),
        ("/api/2.0/mlflow/runs/log-batch", "unknown"),
        ("/api/v1/experiments", "tags"),
    ):
        answer = httpx.post(
            f"{local_target.url}{path}",
            content=f'{{"{field}": {nested}}}',
            headers={"content-type": "application/json"},
            timeout=30,
        )
        assert 400 <= answer.status_code < 500, answer.text[:200]
        assert len(answer.content) < 10_000
    assert httpx.get(f"{local_target.url}/health").status_code == 200


def test_forged_lines_do_not_reach_the_log(local_target: Target, slug: str) -> None:
    """Whatever a client names, no line of the log is one that it wrote."""
    forged = "\n2026-01-01 ERROR forged"
    encoded = "%0a%0d%0a2026-01-01%20ERROR%20forged"
    for path in (
        f"/t/{encoded}/api/2.0/mlflow/runs/get?run_id=x",
        f"/api/2.0/mlflow/{encoded}",
        f"/api/v1/experiments/{encoded}",
        f"/api/2.0/mlflow-artifacts/artifacts/{encoded}",
        f"/{encoded}",
    ):
        assert 400 <= status_of(answer_to(local_target.url, request("GET", path))) < 500
    with local_target.client(slug) as client:
        client.post(CREATE, json={"run_name": forged, "experiment_id": forged})
        client.post("/api/v1/experiments", json={"name": forged, "tags": {forged: forged}})
        client.post(CREATE, content=json.dumps(forged), headers={"x-request-id": "a\tforged"})
    lines = local_target.log.read_text().splitlines()
    assert [line for line in lines if line.startswith("2026-01-01 ERROR forged")] == []
