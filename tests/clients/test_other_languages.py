"""The requests of clients in other languages, byte for byte as they come off the wire.

What their fields mean is compared with MLflow's server (tests/contract/parity, other_clients).
"""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.security.raw import answer_to

JSON = "Content-Type: application/json"


class Wire:
    """Requests of a tenant, each over a connection that is closed after it."""

    def __init__(self, tracking_uri: str) -> None:
        self.uri = tracking_uri
        where = urlsplit(tracking_uri)
        self.host, self.base = where.netloc, where.path

    def send(
        self, line: str, *headers: str, body: bytes = b"", length: bool = True
    ) -> tuple[int, bytes, Any]:
        """The status, the head and the JSON of the answer. `line` has the path below the base URL:
        `POST /api/… HTTP/1.1`."""
        method, path, version = line.split(" ")
        lines = [f"{method} {self.base}{path} {version}", f"Host: {self.host}", *headers]
        if length and body:
            lines.append(f"Content-Length: {len(body)}")
        if version != "HTTP/1.0":
            lines.append("Connection: close")
        answer = answer_to(self.uri, "\r\n".join([*lines, "", ""]).encode() + body)
        # What a client that asked for it waits for, before it sends the body.
        answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head, json.loads(content) if content else None


@pytest.fixture
def wire(tracking_uri: str) -> Wire:
    return Wire(tracking_uri)


@pytest.fixture
def run_id(wire: Wire) -> str:
    _, _, answer = wire.send(
        "POST /api/2.0/mlflow/runs/create HTTP/1.1", JSON, body=b'{"experiment_id": "0"}'
    )
    found: str = answer["run"]["info"]["run_id"]
    return found


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_r_by_httr(wire: Wire, run_id: str) -> None:
    """R's client: a base URL with a slash at its end, and text for every number."""
    body = {
        **{"run_uuid": run_id, "run_id": run_id, "key": "loss", "value": "0.5"},
        **{"timestamp": "1700000000000", "step": "1e+05"},
    }
    status, _, answer = wire.send(
        "POST //api/2.0/mlflow/runs/log-metric HTTP/1.1",
        *("User-Agent: mlflow-r-client/2.9.2", "Accept-Encoding: deflate, gzip, br"),
        *("Accept: application/json, text/xml, application/xml, */*", JSON),
        body=json.dumps(body).encode(),
    )
    assert (status, answer) == (200, {})
    status, _, answer = wire.send(
        f"GET //api/2.0/mlflow/metrics/get-history?run_uuid={run_id}&run_id={run_id}"
        "&metric_key=loss HTTP/1.1",
        "Accept: application/json, text/xml, application/xml, */*",
    )
    (point,) = answer["metrics"]
    assert point == {"key": "loss", "value": 0.5, "timestamp": 1700000000000, "step": 100000}


def test_java_by_apache_httpclient(wire: Wire, run_id: str) -> None:
    """It asks whether to go on before it sends a body, and sends a charset."""
    body = {
        "run_id": run_id,
        "metrics": [{"key": "m", "value": 1.0, "timestamp": "5", "step": "7"}],
    }
    status, _, answer = wire.send(
        "POST /api/2.0/mlflow/runs/log-batch HTTP/1.1",
        *("Content-Type: application/json; charset=UTF-8", "Expect: 100-continue"),
        *("User-Agent: mlflow-java-client/2.9.2", "Accept-Encoding: gzip,deflate"),
        body=json.dumps(body).encode(),
    )
    assert (status, answer) == (200, {})


def test_go_by_net_http(wire: Wire) -> None:
    """The fields of a GET in its body, of which the length is not told."""
    for name in ("one", "two"):
        wire.send(
            "POST /api/2.0/mlflow/experiments/create HTTP/1.1",
            JSON,
            body=json.dumps({"name": name}).encode(),
        )
    parts = b'{"max_results":5,', b'"filter":"name = \'two\'"}'
    status, _, answer = wire.send(
        "GET /api/2.0/mlflow/experiments/search HTTP/1.1",
        *("User-Agent: Go-http-client/1.1", JSON, "Transfer-Encoding: chunked"),
        body=chunked(*parts),
        length=False,
    )
    assert status == 200
    assert [one["name"] for one in answer["experiments"]] == ["two"]
    status, _, answer = wire.send(
        "GET /api/2.0/mlflow/experiments/search HTTP/1.1", JSON, body=b"".join(parts)
    )
    assert [one["name"] for one in answer["experiments"]] == ["two"]


def test_julia_by_http_jl(wire: Wire) -> None:
    """A chunked body, and a query with an encoded filter."""
    status, _, answer = wire.send(
        "POST /api/2.0/mlflow/experiments/create HTTP/1.1",
        *("Accept: */*", "User-Agent: HTTP.jl/1.10.2", JSON, "Transfer-Encoding: chunked"),
        body=chunked(b'{"name":"julia",', b'"tags":[]}'),
        length=False,
    )
    assert status == 200
    status, _, found = wire.send(
        "GET /api/2.0/mlflow/experiments/search?max_results=20000&filter=name%20%3D%20%27julia%27"
        "&view_type=ACTIVE_ONLY HTTP/1.1",
        *("Accept: */*", "User-Agent: HTTP.jl/1.10.2", "Content-Length: 0"),
    )
    assert [one["experiment_id"] for one in found["experiments"]] == [answer["experiment_id"]]


def test_php_by_guzzle(wire: Wire) -> None:
    """Escaped slashes; a DELETE with a body, and with one beside a query."""
    for name in ("a\\/b", "c"):
        status, _, _ = wire.send(
            "POST /api/2.0/mlflow/registered-models/create HTTP/1.1",
            *("User-Agent: GuzzleHttp/7", JSON),
            body=b'{"name":"%s","tags":[]}' % name.encode(),
        )
        assert status in (200, 400)
    status, _, answer = wire.send(
        "DELETE /api/2.0/mlflow/registered-models/delete?name=other HTTP/1.1",
        *("User-Agent: GuzzleHttp/7", JSON),
        body=b'{"name":"c"}',
    )
    assert (status, answer) == (200, {})
    status, _, answer = wire.send("GET /api/2.0/mlflow/registered-models/get?name=c HTTP/1.1")
    assert (status, answer["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_http_1_0(wire: Wire, run_id: str) -> None:
    """Old proxies and `ab`: the answer has a length, or ends with the connection."""
    status, head, answer = wire.send(f"GET /api/2.0/mlflow/runs/get?run_id={run_id} HTTP/1.0")
    assert (status, answer["run"]["info"]["run_id"]) == (200, run_id)
    assert b"chunked" not in head.lower()
    status, _, answer = wire.send(
        "POST /api/2.0/mlflow/runs/set-tag HTTP/1.0",
        JSON,
        body=json.dumps({"run_id": run_id, "key": "k", "value": "v"}).encode(),
    )
    assert (status, answer) == (200, {})


def test_a_probe_by_wget(wire: Wire) -> None:
    status, head, content = wire.send(
        "HEAD /health HTTP/1.1",
        "User-Agent: Wget/1.21.3",
        "Accept: */*",
        "Accept-Encoding: identity",
    )
    assert (status, content) == (200, None)
    assert b"content-length: 15" in head.lower()
