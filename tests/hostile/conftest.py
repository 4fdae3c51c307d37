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

    def stored(self) -> dict[str, bytes]:
        """Everything that lies in the store, and beside it, by its whole name."""
        if self.s3 is not None:
            return {
                f"{bucket.name}/{found.object_name}": self.s3.get_object(
                    bucket.name, found.object_name
                ).data
                for bucket in self.s3.list_buckets()
                for found in self.s3.list_objects(bucket.name, recursive=True)
            }
        return {
            str(path.relative_to(self.data_dir)): path.read_bytes()
            for path in self.data_dir.rglob("*")
            if path.is_file()
        }


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
        yield Target("local", url, process.pid, folder / "log", data_dir)


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
        yield Target("s3", url, process.pid, folder / "log", folder / "data", client)


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
