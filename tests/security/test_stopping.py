"""What the service was asked for when it is stopped, and does not end in time."""

import re
import socket
import time
from pathlib import Path

import httpx

from tests.conftest import Postgres, new_slug, running_server
from tests.security.raw import connect, received, request

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
GRACE_SECONDS = 2
PATIENCE = 30.0


def test_requests_that_do_not_end_are_told_to_come_back(postgres: Postgres, tmp_path: Path) -> None:
    """An upload and a body that are still on their way after all the time that they have: nothing
    of them is kept, and nothing is logged as unforeseen."""
    data_dir, log = tmp_path / "data", tmp_path / "log"
    environment = {
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
        "TRACKING_DATA_DIR": str(data_dir),
        "TRACKING_LOG_FORMAT": "json",
    }
    tenant = f"/t/{new_slug()}"
    constants: dict[str, object] = {"app.commands.serve.GRACE_SECONDS": GRACE_SECONDS}
    with running_server(environment, log, constants=constants) as (url, process):
        created = httpx.post(f"{url}{tenant}{API}/runs/create", json={}).json()["run"]["info"]
        root = created["artifact_uri"].removeprefix("mlflow-artifacts:/")
        length, short = "Content-Length: 10000000", "Content-Length: 1000"
        json_ = "Content-Type: application/json"
        starts = [
            request("PUT", f"{tenant}{PROXY}/{root}/cut.bin", length, body=bytes(2_000_000)),
            request("POST", f"{tenant}{API}/runs/log-batch", json_, short, body=b"{"),
            request("POST", f"{tenant}/api/v1/experiments", json_, short, body=b"{"),
        ]
        slow = [connect(url) for _ in starts]
        for one, start in zip(slow, starts, strict=True):
            one.settimeout(PATIENCE)
            one.sendall(start)
        until_under_way(url, len(slow))
        process.terminate()
        answers = [trickling(one) for one in slow]
        assert process.wait(PATIENCE) is not None
    for answer in answers:
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 503 ")
        assert b"\r\nretry-after: " in head
        assert b"\r\nconnection: close" in head
    assert [path for path in data_dir.rglob("*") if path.is_file()] == []
    assert "Traceback" not in log.read_text()
    assert log.read_text().count('"status":503') == len(answers)


def until_under_way(url: str, count: int) -> None:
    """Wait until the service has begun that many requests, beside the one that asks it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        metrics = httpx.get(f"{url}/metrics").text
        (told,) = re.findall(r"^tracking_open_requests (\d+)", metrics, re.MULTILINE)
        if int(told) > count:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def trickling(connection: socket.socket) -> bytes:
    """What a client gets that sends on until there is an answer."""
    connection.sendall(b" ")
    with connection:
        return received(connection)
