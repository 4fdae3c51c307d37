"""MLflow's own client uploads and downloads a large file, by each of its methods, on both stores.

40 MB in small parts; TRACKING_TEST_FILE_MB=600 does it with a file, and parts, of real size.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.utils import server_info

from app.config import Settings
from tests.conftest import new_slug, running_server
from tests.support.s3_server import S3Server

MB = 1_000_000
FILE_MB = int(os.environ.get("TRACKING_TEST_FILE_MB", "40"))
LARGE = FILE_MB >= 500  # then MLflow's own limits and sizes of parts apply


@dataclass
class Server:
    url: str
    takes_parts: bool


@pytest.fixture(scope="module")
def environment(settings: Settings) -> dict[str, str]:
    return {
        "TRACKING_DATABASE_URL": settings.database_url or "",
        "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
    }


@pytest.fixture(scope="module", params=["local", "s3", "s3 behind the server"])
def server(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    environment = environment | {"TRACKING_DATA_DIR": str(folder / "data")}
    if request.param != "local":
        s3: S3Server = request.getfixturevalue("s3")
        environment |= {
            "TRACKING_MINIO_ENDPOINT": s3.endpoint,
            "TRACKING_MINIO_ACCESS_KEY": s3.access_key,
            "TRACKING_MINIO_SECRET_KEY": s3.secret_key,
            "TRACKING_MINIO_BUCKET_PREFIX": f"c{new_slug()[2:]}-",
        }
    if request.param == "s3":
        environment["TRACKING_MINIO_PUBLIC_ENDPOINT"] = f"http://{s3.endpoint}"
    with running_server(environment, folder / "log") as (url, _):
        yield Server(url, request.param != "s3 behind the server")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sent") / "weights.bin"
    with path.open("wb") as target:
        for _ in range(FILE_MB):
            target.write(os.urandom(MB))
        target.write(b"and a little more")
    return path


def digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@dataclass
class Ways:
    """The methods by which the client uploaded and downloaded."""

    uploads_in_parts: int = 0
    downloads_in_parts: int = 0


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    ways = Ways()
    upload = HttpArtifactRepository._try_multipart_upload
    download = HttpArtifactRepository._multipart_download

    def counted_upload(self: Any, *args: Any, **kwargs: Any) -> None:
        upload(self, *args, **kwargs)
        ways.uploads_in_parts += 1

    def counted_download(self: Any, *args: Any, **kwargs: Any) -> None:
        download(self, *args, **kwargs)
        ways.downloads_in_parts += 1

    monkeypatch.setattr(HttpArtifactRepository, "_try_multipart_upload", counted_upload)
    monkeypatch.setattr(HttpArtifactRepository, "_multipart_download", counted_download)
    return ways


@pytest.mark.parametrize("asked", ["true", "false", None], ids=["on", "off", "by server-info"])
def test_a_large_file_there_and_back(
    server: Server,
    file: Path,
    tmp_path: Path,
    ways: Ways,
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
) -> None:
    if not LARGE:
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000000")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(6 * MB))
        monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(7 * MB))
    for name in ("UPLOAD", "DOWNLOAD"):
        variable = f"MLFLOW_ENABLE_PROXY_MULTIPART_{name}"
        if asked is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, asked)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    server_info._clear_server_info_cache()

    slug = new_slug()
    client = MlflowClient(f"{server.url}/t/{slug}")
    run = client.create_run("0")
    client.log_artifact(run.info.run_id, str(file), "model")
    received = client.download_artifacts(run.info.run_id, "model/weights.bin", str(tmp_path))

    assert digest(Path(received)) == digest(file)
    (listed,) = client.list_artifacts(run.info.run_id, "model")
    assert (listed.path, listed.file_size) == ("model/weights.bin", file.stat().st_size)
    in_parts = asked != "false"
    assert ways.uploads_in_parts == (in_parts and server.takes_parts)
    assert ways.downloads_in_parts == in_parts
