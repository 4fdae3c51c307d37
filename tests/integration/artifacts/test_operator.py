"""Messages for operators and for clients where the artifact store can't be used."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.main import create_app
from tests.conftest import ROOT, client_of, new_slug, running_server
from tests.support.s3_server import S3Server, failing_server, s3_settings


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    return {
        "TRACKING_DATABASE_URL": settings.database_url or "",
        "TRACKING_DATA_DIR": str(tmp_path / "data"),
        "TRACKING_MINIO_ACCESS_KEY": "key",
        "TRACKING_MINIO_SECRET_KEY": "hush-hush",
    }


def test_said_at_the_start(environment: dict[str, str], nowhere: str, tmp_path: Path) -> None:
    """Requests that don't need the store are served."""
    log = tmp_path / "log"
    with running_server(environment | {"TRACKING_MINIO_ENDPOINT": nowhere}, log) as (url, _):
        created = httpx.post(
            f"{url}/t/{new_slug()}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}
        )
        assert created.status_code == 200
        deadline = time.monotonic() + 30
        while "artifact store at" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
    said = log.read_text()
    assert f"its address is wrong (artifact store at {nowhere})" in said
    assert "hush-hush" not in said


def test_settings_that_make_no_sense(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        cwd=ROOT,
        env=environment
        | {"TRACKING_MINIO_ENDPOINT": "http://minio:9000", "TRACKING_LOG_FORMAT": "text"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines() == [
        "tracking: TRACKING_MINIO_ENDPOINT is host:port; TRACKING_MINIO_SECURE says http or https"
    ]


@pytest.mark.parametrize(
    ("status", "code", "logged"),
    [
        (403, "AccessDenied", "belongs to another account, or the access key lacks permission"),
        (403, "InvalidAccessKeyId", "check TRACKING_MINIO_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "set the time"),
        (404, None, "does not speak S3"),
    ],
)
async def test_a_request_is_answered_503(
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str | None,
    logged: str,
) -> None:
    with failing_server(status, code) as endpoint:
        server = S3Server("broken", endpoint)
        app = create_app(s3_settings(settings, server, "p-", minio_region="us-east-1"))
        async with app.router.lifespan_context(app):
            services = app.state.services
            tenant = await services.tenant_lookup.resolve(new_slug(), create=True)
            async with client_of(app, tenant) as client:
                created = await client.post(
                    "api/2.0/mlflow/runs/create", json={"experiment_id": "0"}
                )
                uri = created.json()["run"]["info"]["artifact_uri"]
                path = uri.removeprefix("mlflow-artifacts:/")
                answer = await client.put(
                    f"api/2.0/mlflow-artifacts/artifacts/{path}/a", content=b"x"
                )
                listed = await client.get(
                    "api/2.0/mlflow-artifacts/artifacts", params={"path": path}
                )
    assert answer.status_code == 503
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert answer.headers["retry-after"] == "1"
    assert listed.json() == {}
    assert logged in caplog.text
    assert server.secret_key not in caplog.text + answer.text
