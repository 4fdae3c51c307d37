"""What a client can send before, between and after the bodies of its requests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.conftest import ADMIN_KEY, new_slug
from tests.security.raw import (
    PATIENCE,
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
EXPERIMENTS = "/api/v1/experiments"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
MIB = 1 << 20
FLOOD = 64 * MIB
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def kept_alive(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    return request(method, path, *headers, body=body).replace(b"Connection: close\r\n", b"")


def in_a_chunk(body: bytes, *trailers: str) -> bytes:
    after = "".join(f"{trailer}\r\n" for trailer in trailers).encode()
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, after)


@contextmanager
def flat_memory(target: Target) -> Iterator[None]:
    before = resident_bytes(target.pid)
    yield
    assert resident_bytes(target.pid) - before < 20 * MIB
    assert httpx.get(f"{target.url}/health", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("path", [CREATE, EXPERIMENTS])
def test_a_trailer_names_no_tenant(local_target: Target, path: str) -> None:
    other, name = new_slug(), new_slug()
    body = json.dumps({} if path == CREATE else {"name": name}).encode()
    sent = request("POST", path, JSON, CHUNKED, body=in_a_chunk(body, f"X-Tenant-ID: {other}"))
    answer = answer_to(local_target.url, sent)
    assert status_of(answer) in (200, 201)
    assert other.encode() not in answer


@pytest.mark.parametrize("path", ["/api/v1/admin/tenants", CREATE, EXPERIMENTS])
def test_a_trailer_is_no_key(guarded_url: str, path: str) -> None:
    body = json.dumps({"slug": new_slug(), "name": "x"}).encode()
    key = f"Authorization: Bearer {ADMIN_KEY}"
    headers = ["X-Tenant-ID: default", JSON, CHUNKED]
    admitted = answer_to(guarded_url, request("POST", path, key, *headers, body=in_a_chunk(body)))
    assert status_of(admitted) != 401
    refused = answer_to(guarded_url, request("POST", path, *headers, body=in_a_chunk(body, key)))
    assert status_of(refused) == 401


@pytest.mark.parametrize(
    ("begin", "piece", "status"),
    [
        (b"2\r\n{}\r\n0\r\n", b"X-Flood: y\r\n" * 5000, 431),
        (b"2\r\n{}\r\n0\r\nX-Flood: ", b"y" * 65536, 400),
        (b"2\r\n{}\r\n0\r\n", b"y" * 65536, 400),
        (b"2;", b"y" * 65536, 400),
        (b'2;x="', b"y;" * 32768, 400),
        (b"", b"1;" + b"y" * 65536 + b"\r\nx\r\n", 400),
        (b"", b"0" * 65536, 400),
    ],
    ids=[
        "trailers",
        "one trailer",
        "the name of a trailer",
        "one extension",
        "a quoted extension",
        "extensions",
        "a size",
    ],
)
@pytest.mark.parametrize("host", ["localhost", "elsewhere.example"])
def test_what_never_ends_around_a_body(
    local_target: Target, begin: bytes, piece: bytes, status: int, host: str
) -> None:
    """Also behind a request that is refused for its head."""
    head = kept_alive("POST", CREATE, JSON, CHUNKED).replace(b"localhost", host.encode())
    with flat_memory(local_target), connect(local_target.url) as connection:
        connection.sendall(head + begin)
        send_until_refused(connection, piece, FLOOD)
        answer = received(connection)
    assert status_of(answer) in ((status,) if host == "localhost" else (status, 400))
    assert answer.count(b"HTTP/1.1 ") == 1


def test_empty_lines_that_never_end(local_target: Target) -> None:
    for before in (b"", HEALTH):
        with flat_memory(local_target), connect(local_target.url) as connection:
            connection.sendall(before)
            send_until_refused(connection, b"\r\n" * 32768, FLOOD)
            answers = received(connection)
        assert answers.count(b"HTTP/1.1 431 ") == 1


@pytest.mark.parametrize("end", ["\r\n", "\r\n\r\n"])
def test_an_empty_line_behind_a_body_is_no_request(local_target: Target, end: str) -> None:
    """Old browsers send one."""
    body = b"{}" + end.encode()
    with connect(local_target.url) as connection:
        connection.sendall(kept_alive("POST", CREATE, JSON, "Content-Length: 2", body=body))
        connection.sendall(request("GET", "/health"))
        answers = received(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 2


def test_many_small_trailers_are_dropped(local_target: Target) -> None:
    trailers = [f"X-{number}: y" for number in range(100)]
    sent = request("POST", CREATE, JSON, CHUNKED, body=in_a_chunk(b"{}", *trailers))
    assert status_of(answer_to(local_target.url, sent)) == 200


def test_the_smallest_chunks(local_target: Target, slug: str) -> None:
    """A client that sends a letter at a time is slow and not hostile."""
    content = b"{" + b" " * 30_000 + b"}"
    chunks = b"".join(b"1;x\r\n%c\r\n" % letter for letter in content) + b"0\r\n\r\n"
    sent = request("POST", f"/t/{slug}{CREATE}", JSON, CHUNKED, body=chunks)
    assert status_of(answer_to(local_target.url, sent)) == 200


def test_many_headers(local_target: Target) -> None:
    for number, status in ((100, 200), (300, 431)):
        headers = [f"X-{one}: y" for one in range(number)]
        answer = answer_to(local_target.url, request("GET", "/health", *headers))
        assert status_of(answer) == status
    for size, status in ((60_000, 200), (66_000, 431), (200_000, 431)):
        answer = answer_to(local_target.url, request("GET", "/health", "X: " + "y" * size))
        assert status_of(answer) == status


def test_ten_thousand_requests_behind_a_refused_one(local_target: Target) -> None:
    """Few wait; those answers are the last of the connection."""
    refused = kept_alive("POST", CREATE, JSON, "Content-Length: 3", body=b"{x}")
    with flat_memory(local_target), connect(local_target.url) as connection:
        connection.sendall((refused + HEALTH) * 5000)
        answers = received(connection)
    assert 2 <= answers.count(b"HTTP/1.1 ") < 200
    assert answers.rfind(b"connection: close") > answers.rfind(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "last",
    [
        request("GET", "/health"),
        b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: y\r\n z\r\n\r\n",
        request("POST", CREATE, JSON, "Content-Length: 3", body=b"{x}"),
        request("GET", "/health", "X: " + "y" * 100_000),
    ],
    ids=["asked for", "HTTP/1.0", "malformed", "refused", "too large"],
)
def test_nothing_is_run_behind_the_last_request(local_target: Target, last: bytes) -> None:
    create = kept_alive("POST", CREATE, JSON, "Content-Length: 2", body=b"{}")
    with connect(local_target.url) as connection:
        connection.sendall(last + create * 1000)
        answers = received(connection)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"run_id" not in answers


def test_a_request_before_a_malformed_one_is_answered(local_target: Target) -> None:
    """Whole, and before the refusal of the other."""
    create = kept_alive("POST", CREATE, JSON, "Content-Length: 2", body=b"{}")
    with connect(local_target.url) as connection:
        connection.sendall(create * 3 + b"GET /he alth HTTP/1.1\r\n\r\n" + create)
        answers = received(connection)
    statuses = [status_of(b"HTTP/1.1 " + one) for one in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 200, 400]
    assert answers.count(b"run_id") == 3


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "anything"])
def test_an_upgrade_is_ignored(local_target: Target, protocol: str) -> None:
    """Its body is its body, and no request of its own, as that of clients that offer HTTP/2."""
    smuggled = request("DELETE", "/smuggled")
    name = new_slug()
    named = json.dumps({"run_name": name}).encode()
    wish = ["Connection: keep-alive, Upgrade, HTTP2-Settings", f"Upgrade: {protocol}"]
    with connect(local_target.url) as connection:
        for body in (named, smuggled):
            length = f"Content-Length: {len(body)}"
            connection.sendall(kept_alive("POST", CREATE, JSON, *wish, length))
            connection.sendall(body)
        connection.sendall(kept_alive("GET", "/health", *wish) * 3 + request("GET", "/health"))
        answers = received(connection)
    statuses = [status_of(b"HTTP/1.1 " + one) for one in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 400, 200, 200, 200, 200]
    assert f'"{name}"'.encode() in answers


def test_this_is_no_proxy(local_target: Target) -> None:
    for sent in (b"CONNECT example.org:80 HTTP/1.1\r\n\r\n", b"CONNECT / HTTP/1.1\r\n\r\n"):
        assert status_of(answer_to(local_target.url, sent)) in (400, 405)


@pytest.mark.parametrize("path", [CREATE, EXPERIMENTS])
def test_a_malformed_body_of_a_client_that_waits_to_be_asked_for_it(
    local_target: Target, path: str
) -> None:
    """It is refused, and not asked for in what would come behind the refusal."""
    logged = local_target.log.read_text().count("Traceback")
    sent = request("POST", path, JSON, CHUNKED, "Expect: 100-continue", body=b"no size\r\n")
    answer = answer_to(local_target.url, sent)
    assert status_of(answer) == 400
    assert b"100 Continue" not in answer
    assert local_target.log.read_text().count("Traceback") == logged
