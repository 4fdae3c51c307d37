"""One Postgres, one application and one live server for the whole run; a fresh tenant a test."""

import os
import secrets
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from minio import Minio

from app.config import Settings
from app.db import migrate
from app.db.database import Database
from app.kernel.tenant import Tenant
from app.main import create_app
from app.services import Services
from tests.support import postgres_servers
from tests.support.processes import Tracking
from tests.support.s3_server import S3Server, s3_server

ADMIN_KEY = "an-admin-key-that-only-the-tests-have"

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Postgres:
    owner_url: str
    app_url: str


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def postgres(data_dir: Path) -> Iterator[Postgres]:
    """A migrated database: the embedded one, or one of PostgreSQL 15 (TRACKING_TEST_POSTGRES=15),
    or TRACKING_TEST_DATABASE_URL (application role) and TRACKING_TEST_MIGRATION_DATABASE_URL
    (owner), whose schema is then emptied first."""
    app_url = os.environ.get("TRACKING_TEST_DATABASE_URL")
    if app_url:
        if "PYTEST_XDIST_WORKER" in os.environ:
            pytest.exit("One database can't serve several processes: use args='-n 0'", 2)
        owner_url = os.environ.get("TRACKING_TEST_MIGRATION_DATABASE_URL", app_url)
        if migrate.state(owner_url) != "empty":
            migrate.downgrade(owner_url, "base")
        migrate.upgrade(owner_url)
        yield Postgres(owner_url, app_url)
        return
    with postgres_servers.chosen(data_dir) as server:
        migrate.upgrade(server.owner_url)
        yield Postgres(server.owner_url, server.app_url)


@pytest.fixture(scope="session")
def settings(postgres: Postgres, data_dir: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=postgres.app_url,
        migration_database_url=postgres.owner_url,
        data_dir=data_dir,
        allowed_hosts="test,tracking.example.org",
        log_requests="off",  # they would be written between the tests' own lines
    )


@pytest_asyncio.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture(scope="session")
def services(app: FastAPI) -> Services:
    return app.state.services


@pytest.fixture(scope="session")
def database(services: Services) -> Database:
    return services.database


def new_slug() -> str:
    return f"t-{secrets.token_hex(6)}"


@pytest_asyncio.fixture
async def tenant(services: Services) -> Tenant:
    return await services.tenant_lookup.resolve(new_slug(), create=True)


@pytest_asyncio.fixture
async def other_tenant(services: Services) -> Tenant:
    return await services.tenant_lookup.resolve(new_slug(), create=True)


@pytest_asyncio.fixture
async def client(app: FastAPI, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the fresh tenant, which it names in the path."""
    async with client_of(app, tenant) as it:
        yield it


@pytest_asyncio.fixture
async def other_client(app: FastAPI, other_tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, other_tenant) as it:
        yield it


class AppClient(httpx.AsyncClient):
    """A client of an application in this process, on the machine at `address`."""

    def __init__(
        self,
        app: FastAPI,
        base_url: str = "http://test",
        *,
        headers: dict[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
        super().__init__(transport=transport, base_url=base_url, headers=headers)
        self.app = app


def client_of(app: FastAPI, tenant: Tenant | None) -> AppClient:
    """A client whose URLs are relative to the tenant's; of no tenant, without one."""
    return AppClient(app, f"http://test/t/{tenant.slug}" if tenant else "http://test")


def answers(url: str, path: str) -> bool:
    """Whether the server answers a GET with 200: without a client of httpx's, which would load the
    certificates of all authorities for each question to a server that is starting."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(
    environment: dict[str, str],
    log: Path,
    *,
    open_files: int | None = None,
    constants: dict[str, object] | None = None,
) -> Iterator[tuple[str, Tracking]]:
    """A process of `tracking serve`; yields its URL and the process, which it ends. `open_files`
    and `constants` are those of Tracking."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = Tracking(
        ["serve"],
        cwd=ROOT,
        env=os.environ | {"TRACKING_PORT": str(port)} | environment,
        stdout=log,
        stderr=log,
        open_files=open_files,
        constants=constants,
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(url, "/ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def server_url(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A live server on the same database, for clients that need real HTTP."""
    assert settings.database_url
    environment = {
        "TRACKING_DATABASE_URL": settings.database_url,
        "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
        "TRACKING_DATA_DIR": str(settings.data_dir),
    }
    log = tmp_path_factory.mktemp("server") / "log"
    with running_server(environment, log) as (url, _):
        yield url


@pytest.fixture(scope="module")
def guarded_url(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for keys."""
    folder = tmp_path_factory.mktemp("guarded")
    environment = {
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
        "TRACKING_DATA_DIR": str(folder / "data"),
        "TRACKING_AUTH": "keys",
        "TRACKING_ADMIN_KEY": ADMIN_KEY,
    }
    with running_server(environment, folder / "log") as (url, _):
        yield url


@pytest.fixture
def tracking_uri(server_url: str, tenant: Tenant) -> str:
    """What a user of the mlflow client sets as MLFLOW_TRACKING_URI."""
    return f"{server_url}/t/{tenant.slug}"


@pytest.fixture(scope="session")
def s3(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with s3_server() as server:
        plugins = request.config.pluginmanager
        reporter, capture = (
            plugins.get_plugin("terminalreporter"),
            plugins.get_plugin("capturemanager"),
        )
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line(f"\nS3 in these tests: {server.name}")
        yield server


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with MLflow's tables and no rows. Copy it: a copy takes milliseconds where
    MLflow's migrations take seconds."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    path = tmp_path_factory.mktemp("mlflow") / "tables.db"
    SqlAlchemyStore(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture
def prefix() -> str:
    """A bucket prefix, and so a world, for each test."""
    return f"t{uuid.uuid4().hex[:12]}-"


@pytest.fixture
def s3_client(s3: S3Server) -> Minio:
    return Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
