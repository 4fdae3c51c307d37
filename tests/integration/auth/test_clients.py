"""API keys with MLflow's client, against a service with two workers."""

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from app.auth.credentials import ApiKeyText
from app.config import Settings
from tests.conftest import new_slug, running_server

ADMIN_KEY = "an-admin-key-that-only-the-tests-have"
SECONDS = 30  # for what must happen within seconds, on a machine that is busy


@dataclass(frozen=True)
class Guarded:
    """A service that asks for keys."""

    url: str

    def admin(self, method: str, path: str, **body: object) -> dict[str, str]:
        answer = httpx.request(
            method,
            f"{self.url}/api/v1/admin/tenants{path}",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            json=body or None,
        )
        assert answer.is_success, answer.text
        return dict(answer.json()) if answer.content else {}

    def tenant(self) -> str:
        return self.admin("POST", "", slug=new_slug())["slug"]

    def key(self, tenant: str, role: str = "write") -> str:
        return self.admin("POST", f"/{tenant}/keys", role=role)["key"]

    def each_worker(self, key: str) -> dict[str, int]:
        """The status that each of the two workers answers the key with."""
        found: dict[str, int] = {}
        deadline = time.monotonic() + SECONDS
        while len(found) < 2 and time.monotonic() < deadline:
            # On a connection of its own each, which either worker may take; without the
            # certificates that each would load.
            answer = httpx.get(
                f"{self.url}/api/v1/experiments",
                headers={"Authorization": f"Bearer {key}"},
                verify=False,
            )
            found[answer.headers["x-request-id"].partition("-")[0]] = answer.status_code
        assert len(found) == 2
        return found


@pytest.fixture(scope="module")
def service(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    environment = {
        "TRACKING_DATABASE_URL": settings.database_url or "",
        "TRACKING_MIGRATION_DATABASE_URL": settings.migration_database_url or "",
        "TRACKING_DATA_DIR": str(settings.data_dir),
        "TRACKING_AUTH": "keys",
        "TRACKING_ADMIN_KEY": ADMIN_KEY,
        "TRACKING_WORKERS": "2",
    }
    log = tmp_path_factory.mktemp("guarded") / "log"
    with running_server(environment, log) as (url, _):
        yield Guarded(url)
    # Whatever was sent here, no secret is in the log.
    written = log.read_text()
    assert ADMIN_KEY not in written
    for text in SENT:
        assert text not in written
        assert base64.b64encode(f"me:{text}".encode()).decode() not in written


SENT: list[str] = []

Client = Callable[[str], MlflowClient]


@pytest.fixture(params=["token", "password"])
def connect(
    request: pytest.FixtureRequest,
    service: Guarded,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Client]:
    """The client with a key, in each of the two ways that it has for one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def client(key: str) -> MlflowClient:
        SENT.append(key)
        if request.param == "token":
            monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key)
        else:
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", key)
        mlflow.set_tracking_uri(service.url)
        return MlflowClient()

    yield client
    mlflow.set_tracking_uri(None)


class TestMlflowClient:
    def test_runs_models_and_artifacts(
        self, service: Guarded, connect: Client, tmp_path: Path
    ) -> None:
        tenant = service.tenant()
        client = connect(service.key(tenant))
        experiment_id = client.create_experiment("guarded")
        with mlflow.start_run(experiment_id=experiment_id) as run:
            mlflow.log_param("p", 1)
            mlflow.log_metric("m", 0.5)
            mlflow.log_text("hello", "folder/note.txt")
        found = client.get_run(run.info.run_id)
        assert found.data.metrics == {"m": 0.5}
        assert found.data.tags["matih.tenant_id"] == tenant
        assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["folder"]
        local = client.download_artifacts(run.info.run_id, "folder/note.txt", str(tmp_path))
        assert Path(local).read_text() == "hello"
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/folder/note.txt") == "hello"
        assert [one.name for one in mlflow.list_workspaces()] == [tenant]

    def test_a_key_that_may_only_read(self, service: Guarded, connect: Client) -> None:
        tenant = service.tenant()
        connect(service.key(tenant))
        with mlflow.start_run(experiment_id="0") as run:
            mlflow.log_text("hello", "note.txt")
        client = connect(service.key(tenant, "read"))
        assert client.get_run(run.info.run_id).info.run_id == run.info.run_id
        assert len(client.search_runs(["0"])) == 1
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "hello"
        with pytest.raises(MlflowException, match="needs the role 'write'") as caught:
            client.create_experiment("mine")
        assert caught.value.error_code == "PERMISSION_DENIED"
        with pytest.raises(Exception, match="403"):
            client.log_text(run.info.run_id, "overwritten", "note.txt")
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt") == "hello"

    def test_no_key_that_is_good(self, service: Guarded, connect: Client) -> None:
        client = connect(ApiKeyText.new(service.tenant()).text)
        with pytest.raises(MlflowException, match="The API key is not valid") as caught:
            client.search_experiments()
        assert caught.value.error_code == "UNAUTHENTICATED"

    def test_another_tenants_workspace(self, service: Guarded, connect: Client) -> None:
        other = service.tenant()
        connect(service.key(service.tenant()))
        with pytest.raises(MlflowException, match=f"not one of the tenant '{other}'"):
            mlflow.get_workspace(other)

    def test_the_operator_makes_a_workspace(self, connect: Client) -> None:
        connect(ADMIN_KEY)
        slug = new_slug()
        mlflow.create_workspace(slug)
        assert slug in [one.name for one in mlflow.list_workspaces()]


class TestTwoWorkers:
    def test_keys_stop_in_each_within_seconds(self, service: Guarded) -> None:
        """One that is revoked, and one of a tenant that is deleted."""
        tenant, gone = service.tenant(), service.tenant()
        revoked, kept, of_the_gone = service.key(tenant), service.key(tenant), service.key(gone)
        for key in (revoked, of_the_gone):
            assert set(service.each_worker(key).values()) == {200}
        parsed = ApiKeyText.parse(revoked)
        assert parsed
        service.admin("DELETE", f"/{tenant}/keys/{parsed.key_id}")
        service.admin("DELETE", f"/{gone}?cascade=true")
        deadline = time.monotonic() + SECONDS
        for key in (revoked, of_the_gone):
            while set(service.each_worker(key).values()) != {401}:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert set(service.each_worker(kept).values()) == {200}
