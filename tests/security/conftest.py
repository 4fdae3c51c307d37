"""A live server, and with it its process and what it has stored, on each kind of artifact store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio

from tests.conftest import Postgres, new_slug, running_server
from tests.security.runs import API, PROXY, Run
from tests.security.targets import SECRET, VICTIM, Target
from tests.support.s3_server import S3Server

# After a refusal the server reads on, with pauses that make 100 MB take seconds.
HASTY = {"app.http.protocol.BoundedHttp.linger_pause": 0.0005}


@pytest.fixture(scope="session")
def local_target(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile")
    data_dir = folder / "data"
    data_dir.mkdir()
    (data_dir / "secret.txt").write_bytes(SECRET)
    environment = _environment(postgres, data_dir)
    with running_server(environment, folder / "log", constants=HASTY) as (url, process):
        target = Target("local", url, process.pid, folder / "log", data_dir)
        _store_something(target)
        yield target


@pytest.fixture(scope="session")
def s3_target(
    postgres: Postgres, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile-s3")
    environment = _environment(postgres, folder / "data") | {
        "TRACKING_MINIO_ENDPOINT": s3.endpoint,
        "TRACKING_MINIO_ACCESS_KEY": s3.access_key,
        "TRACKING_MINIO_SECRET_KEY": s3.secret_key,
        "TRACKING_MINIO_BUCKET_PREFIX": "hostile-",
    }
    client = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    with running_server(environment, folder / "log", constants=HASTY) as (url, process):
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


@pytest.fixture
def run(target: Target, slug: str) -> Iterator[Run]:
    with target.client(slug) as client:
        info = client.post(f"{API}/runs/create", json={}).json()["run"]["info"]
        root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        assert client.put(f"{PROXY}/{root}/kept.txt", content=b"kept").status_code == 200
        yield Run(client, target, slug, info["run_id"], root)


@pytest.fixture
def nothing_changes(run: Run) -> Iterator[None]:
    before = run.stored()
    assert any(name.endswith("kept.txt") for name in before)
    yield
    assert run.stored() == before
