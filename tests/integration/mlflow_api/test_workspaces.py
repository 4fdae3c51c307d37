"""Workspaces are tenants: MLflow's routes for them, and its client's calls."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.kernel.errors import NotFoundError
from app.kernel.tenant import Tenant
from app.services import Services
from tests.conftest import client_of, new_slug

WORKSPACES = "/api/3.0/mlflow/workspaces"


@pytest.fixture
async def anyone(app: FastAPI):
    """A client that names no tenant."""
    async with client_of(app, None) as client:
        yield client


def message_of(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    return answer.json()["message"]


class TestListWorkspaces:
    async def test_every_tenant_and_the_default_one(
        self, anyone: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        answer = await anyone.get(WORKSPACES)
        names = [workspace["name"] for workspace in answer.json()["workspaces"]]
        assert {tenant.slug, "default"} <= set(names)
        assert names == sorted(names)


class TestCreateWorkspace:
    async def test_it_has_experiment_0(self, anyone: httpx.AsyncClient, app: FastAPI) -> None:
        slug = new_slug()
        answer = await anyone.post(WORKSPACES, json={"name": slug, "description": "Ours"})
        assert answer.status_code == 201
        assert answer.json() == {"workspace": {"name": slug, "description": "Ours"}}
        experiment = await anyone.get(
            "/api/2.0/mlflow/experiments/get",
            params={"experiment_id": "0"},
            headers={"X-MLFLOW-WORKSPACE": slug},
        )
        assert experiment.json()["experiment"]["name"] == "Default"

    async def test_taken(self, anyone: httpx.AsyncClient, tenant: Tenant) -> None:
        answer = await anyone.post(WORKSPACES, json={"name": tenant.slug})
        assert tenant.slug in message_of(answer, 400, "RESOURCE_ALREADY_EXISTS")

    @pytest.mark.parametrize("name", ["", "Bad_Name", "-a", "a" * 49, "default", "a/b", "\x00"])
    async def test_refused_names(self, anyone: httpx.AsyncClient, name: str) -> None:
        answer = await anyone.post(WORKSPACES, json={"name": name})
        message_of(answer, 400, "INVALID_PARAMETER_VALUE")

    async def test_artifact_root_is_refused(self, anyone: httpx.AsyncClient) -> None:
        body = {"name": new_slug(), "default_artifact_root": "file:///etc"}
        answer = await anyone.post(WORKSPACES, json=body)
        message = message_of(answer, 400, "INVALID_PARAMETER_VALUE")
        assert "default_artifact_root" in message


class TestGetWorkspace:
    async def test_default(self, anyone: httpx.AsyncClient) -> None:
        answer = await anyone.get(f"{WORKSPACES}/default")
        assert answer.json()["workspace"]["name"] == "default"

    async def test_absent(self, anyone: httpx.AsyncClient) -> None:
        slug = new_slug()
        answer = await anyone.get(f"{WORKSPACES}/{slug}")
        assert slug in message_of(answer, 404, "RESOURCE_DOES_NOT_EXIST")


class TestUpdateWorkspace:
    async def test_description(self, anyone: httpx.AsyncClient, tenant: Tenant) -> None:
        url = f"{WORKSPACES}/{tenant.slug}"
        await anyone.patch(url, json={"description": "New words"})
        answer = await anyone.get(url)
        assert answer.json()["workspace"] == {"name": tenant.slug, "description": "New words"}

    async def test_nothing_to_update(self, anyone: httpx.AsyncClient, tenant: Tenant) -> None:
        answer = await anyone.patch(f"{WORKSPACES}/{tenant.slug}", json={})
        message = message_of(answer, 400, "INVALID_PARAMETER_VALUE")
        assert message == "Workspace update must have at least one key"

    async def test_absent(self, anyone: httpx.AsyncClient) -> None:
        answer = await anyone.patch(f"{WORKSPACES}/{new_slug()}", json={"description": "x"})
        message_of(answer, 404, "RESOURCE_DOES_NOT_EXIST")


class TestDeleteWorkspace:
    async def test_empty(self, anyone: httpx.AsyncClient, tenant: Tenant) -> None:
        answer = await anyone.delete(f"{WORKSPACES}/{tenant.slug}")
        assert (answer.status_code, answer.content) == (204, b"")
        gone = await anyone.get(f"{WORKSPACES}/{tenant.slug}")
        assert gone.status_code == 404

    async def test_refuses_one_that_holds_something(
        self, anyone: httpx.AsyncClient, services: Services, tenant: Tenant
    ) -> None:
        await services.runs.create(tenant, "0")
        answer = await anyone.delete(f"{WORKSPACES}/{tenant.slug}")
        assert "table 'runs' still contains 1" in message_of(answer, 409, "INVALID_STATE")
        assert (await anyone.get(f"{WORKSPACES}/{tenant.slug}")).status_code == 200

    async def test_cascade_takes_everything_and_nobody_elses(
        self,
        anyone: httpx.AsyncClient,
        client: httpx.AsyncClient,
        services: Services,
        tenant: Tenant,
        other_tenant: Tenant,
    ) -> None:
        kept = await services.runs.create(other_tenant, "0")
        run = await services.runs.create(tenant, "0", params={"p": "1"}, tags={"t": "1"})
        path = f"experiments/0/runs/{run.run_id.hex}/artifacts/note.txt"
        uploaded = await client.put(f"/api/2.0/mlflow-artifacts/artifacts/{path}", content=b"hello")
        assert uploaded.status_code == 200
        artifact = await services.artifacts.get(tenant, path)
        body = {
            "run_id": run.run_id.hex,
            "metrics": [{"key": "m", "value": 1, "timestamp": 1}],
        }
        assert (await client.post("/api/2.0/mlflow/runs/log-batch", json=body)).status_code == 200
        answer = await anyone.delete(f"{WORKSPACES}/{tenant.slug}", params={"mode": "CASCADE"})
        assert answer.status_code == 204
        again = await services.tenant_lookup.resolve(tenant.slug, create=True)
        assert again.id != tenant.id
        with pytest.raises(NotFoundError):
            await services.runs.get(again, run.run_id.hex)
        assert (await services.runs.get(other_tenant, kept.run_id.hex)).name == kept.name
        with pytest.raises(NotFoundError):
            await services.artifacts.open(tenant, artifact)

    async def test_a_worker_that_still_knows_it(
        self, anyone: httpx.AsyncClient, services: Services, tenant: Tenant
    ) -> None:
        """Until its lookup is renewed, the worker refuses writes, and stores nothing."""
        await anyone.delete(f"{WORKSPACES}/{tenant.slug}")
        with pytest.raises(NotFoundError, match="does not exist any more"):
            await services.experiments.create(tenant, "late")
        with pytest.raises(NotFoundError):
            await services.runs.create(tenant, "0")

    @pytest.mark.parametrize("mode", ["SET_DEFAULT", "EVERYTHING"])
    async def test_refused_modes(
        self, anyone: httpx.AsyncClient, tenant: Tenant, mode: str
    ) -> None:
        answer = await anyone.delete(f"{WORKSPACES}/{tenant.slug}", params={"mode": mode})
        assert mode in message_of(answer, 400, "INVALID_PARAMETER_VALUE")

    async def test_the_default_one_stays(self, anyone: httpx.AsyncClient) -> None:
        answer = await anyone.delete(f"{WORKSPACES}/default")
        assert "reserved" in message_of(answer, 400, "INVALID_PARAMETER_VALUE")

    async def test_absent(self, anyone: httpx.AsyncClient) -> None:
        answer = await anyone.delete(f"{WORKSPACES}/{new_slug()}")
        message_of(answer, 404, "RESOURCE_DOES_NOT_EXIST")


SCRIPT = """
import os, sys
from pathlib import Path
import mlflow
from mlflow.exceptions import MlflowException

name, other = sys.argv[1:]
assert mlflow.create_workspace(name, description="Ours").name == name
assert mlflow.get_workspace(name).description == "Ours"
assert name in [workspace.name for workspace in mlflow.list_workspaces()]
mlflow.set_workspace(name)
mlflow.set_experiment("in-workspace")
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1)
    mlflow.log_text("hello", "note.txt")
    uri = mlflow.get_artifact_uri("note.txt")
assert Path(mlflow.artifacts.download_artifacts(uri)).read_text() == "hello"
try:
    mlflow.delete_workspace(name)
except MlflowException as error:
    assert error.error_code == "INVALID_STATE", error
else:
    raise AssertionError("deleted a workspace that is not empty")
mlflow.create_workspace(other)
mlflow.set_workspace(other)
assert mlflow.get_experiment_by_name("in-workspace") is None
try:
    mlflow.get_run(run.info.run_id)
except MlflowException as error:
    assert error.error_code == "RESOURCE_DOES_NOT_EXIST", error
else:
    raise AssertionError("saw another workspace's run")
mlflow.set_workspace(None)
os.environ["MLFLOW_WORKSPACE"] = name
assert mlflow.get_experiment_by_name("in-workspace") is not None
assert mlflow.get_run(run.info.run_id).data.metrics == {"m": 1}
del os.environ["MLFLOW_WORKSPACE"]
mlflow.delete_workspace(name, mode="CASCADE")
mlflow.delete_workspace(other)
"""


def test_the_unmodified_client(server_url: str, tmp_path: Path) -> None:
    """`mlflow.set_workspace` and MLFLOW_WORKSPACE, artifacts included."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, new_slug(), new_slug()],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_URI": server_url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
