"""A live server, and with it its process and what it has stored, on each kind of artifact store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from minio import Minio

from tests.artifacts.s3_server import S3Server, s3_server
from tests.conftest import Postgres, new_slug, running_server


@dataclass(frozen=True)
class Target:
    """A server. `store` is `local` or `s3`; `data_dir` its data folder, with a secret in it."""

    store: str
    url: str
    pid: int
    log: Path
    data_dir: Path
    s3: Minio | None = None

    def client(self, tenant: str) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/t/{tenant}", timeout=30)

    def stored(self, tenant: str) -> dict[str, str]:
        """What the tenant has stored, and what lies around it, by name, with its checksum or its
        content. Of S3 the tenant's bucket and the victim's, and the names of all buckets."""
        if self.s3 is not None:
            buckets = {bucket.name: "a bucket" for bucket in self.s3.list_buckets()}
            return buckets | {
                f"{bucket}/{found.object_name}": found.etag or ""
                for bucket in (f"hostile-{tenant}", f"hostile-{VICTIM}")
                if bucket in buckets
                for found in self.s3.list_objects(bucket, recursive=True)
            }
        return {
            str(path.relative_to(self.data_dir)): path.read_bytes().decode(errors="replace")
            for path in self.data_dir.rglob("*")
            if path.is_file()
        }


# Another tenant, whose artifacts are to stay as they are.
VICTIM = "victim"
SECRET = b"a secret beside the store"


@pytest.fixture(scope="session")
def hostile_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def local_target(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile")
    data_dir = folder / "data"
    data_dir.mkdir()
    (data_dir / "secret.txt").write_bytes(SECRET)
    with running_server(_environment(postgres, data_dir), folder / "log") as (url, process):
        target = Target("local", url, process.pid, folder / "log", data_dir)
        _store_something(target)
        yield target


@pytest.fixture(scope="session")
def s3_target(
    postgres: Postgres, hostile_s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile-s3")
    environment = _environment(postgres, folder / "data") | {
        "TRACKING_MINIO_ENDPOINT": hostile_s3.endpoint,
        "TRACKING_MINIO_ACCESS_KEY": hostile_s3.access_key,
        "TRACKING_MINIO_SECRET_KEY": hostile_s3.secret_key,
        "TRACKING_MINIO_BUCKET_PREFIX": "hostile-",
    }
    client = Minio(hostile_s3.endpoint, hostile_s3.access_key, hostile_s3.secret_key, secure=False)
    with running_server(environment, folder / "log") as (url, process):
        target = Target("s3", url, process.pid, folder / "log", folder / "data", client)
        _store_something(target)
        yield target


def _store_something(target: Target) -> None:
    with target.client(VICTIM) as client:
        run = client.post("/api/2.0/mlflow/runs/create", json={}).json()["run"]["info"]
        root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        url = f"/api/2.0/mlflow-artifacts/artifacts/{root}/kept.txt"
        assert client.put(url, content=SECRET).status_code == 200


def _environment(postgres: Postgres, data_dir: Path) -> dict[str, str]:
    return {
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
        "TRACKING_DATA_DIR": str(data_dir),
    }


@pytest.fixture(params=["local", "s3"])
def target(request: pytest.FixtureRequest) -> Target:
    found: Target = request.getfixturevalue(f"{request.param}_target")
    return found


@pytest.fixture
def slug() -> str:
    return new_slug()
