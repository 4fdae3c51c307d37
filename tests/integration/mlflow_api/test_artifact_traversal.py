"""Paths that try to leave a run's folder, over real HTTP, since clients tidy them up."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.kernel.tenant import Tenant

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
ATTACKS = [
    "../pwned",
    "../../../../../../../../pwned",
    "a/../../pwned",
    "./pwned",
    "a/./pwned",
    "%2e%2e/pwned",
    "%2e%2e%2fpwned",
    "..%2fpwned",
    "..%5cpwned",
    "%252e%252e%252fpwned",
    "%25252e%25252e%25252fpwned",
    "a%252f..%252f..%252fpwned",
    "..\\pwned",
    "//pwned",
    "%2fpwned",
    "/etc/pwned",
    "file:///pwned",
    "C:%5cpwned",
    "a%23pwned",
]


@pytest.fixture
def connection(server_url: str) -> Iterator[http.client.HTTPConnection]:
    it = http.client.HTTPConnection(urlsplit(server_url).netloc, timeout=30)
    yield it
    it.close()


@pytest.fixture
def run_root(connection: http.client.HTTPConnection, tenant: Tenant) -> str:
    """The path of a new run's folder in the proxy."""
    route = f"/t/{tenant.slug}/api/2.0/mlflow/runs/create"
    _, body = request(connection, "POST", route, b"{}")
    _, _, below = body.partition("mlflow-artifacts:")
    root, _, _ = below.partition('"')
    return f"/t/{tenant.slug}{PROXY}{root}"


def request(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, str]:
    connection.request(method, path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def pwned(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.rglob("*") if "pwned" in path.name]


@pytest.mark.parametrize("attack", ATTACKS)
def test_refused_and_nothing_written(
    connection: http.client.HTTPConnection, run_root: str, data_dir: Path, attack: str
) -> None:
    for method, body in (("PUT", b"x"), ("GET", None), ("DELETE", None)):
        status, answer = request(connection, method, f"{run_root}/{attack}", body)
        assert 400 <= status < 500, (method, answer)
    assert pwned(data_dir) == []


def test_folder_of_another_tenant(
    connection: http.client.HTTPConnection, run_root: str, other_tenant: Tenant, data_dir: Path
) -> None:
    """However the path is written, the tenant is the one that the request names."""
    _, _, below = run_root.partition(PROXY)
    for climb in ("../", "..%2f", "%252e%252e/"):
        for depth in range(1, 12):
            path = f"{run_root}/{climb * depth}{other_tenant.slug}{below}/pwned"
            status, answer = request(connection, "PUT", path, b"x")
            assert 400 <= status < 500, (path, answer)
    assert pwned(data_dir) == []


def test_server_still_serves(
    connection: http.client.HTTPConnection, run_root: str, data_dir: Path
) -> None:
    """And the search for what was written does find what is written."""
    assert request(connection, "PUT", f"{run_root}/pwned.txt", b"x")[0] == 200
    assert len(pwned(data_dir)) == 1
    assert request(connection, "DELETE", f"{run_root}/pwned.txt")[0] == 200
    assert pwned(data_dir) == []
