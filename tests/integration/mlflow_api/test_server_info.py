"""The versions, MLflow's server info, and the prefixes of MLflow's routes."""

from importlib.metadata import version

import httpx
import pytest
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import MlflowHostCreds
from packaging.version import Version

from app.db import migrate
from tests.integration.mlflow_api.model_calls import refused
from tests.integration.mlflow_api.tracking_calls import get_experiment, ok

PREFIXES = ["/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"]


class TestVersion:
    async def test_is_the_one_that_is_compared_with(self, client: httpx.AsyncClient) -> None:
        """As MLflow answers it: nothing but the version."""
        for answer in (await client.get("/version"), await client.get("http://test/version")):
            assert answer.text == version("mlflow")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"

    def test_is_read_by_mlflows_client(self, tracking_uri: str) -> None:
        found = RestStore._get_server_version(MlflowHostCreds(tracking_uri))
        assert found == Version(version("mlflow"))

    async def test_of_this_server(self, client: httpx.AsyncClient) -> None:
        assert ok(await client.get("/api/v1/version")) == {
            "name": "tracking",
            "version": version("tracking"),
            "schema_revision": migrate.head(),
            "mlflow_version": version("mlflow"),
        }


class TestServerInfo:
    async def test_shape(self, client: httpx.AsyncClient) -> None:
        assert ok(await client.get("/api/3.0/mlflow/server-info")) == {
            "store_type": "SqlStore",
            "workspaces_enabled": True,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": True,
            "multipart_downloads_enabled": True,
            "presigned_upload_run_id_supported": True,
            "presigned_upload_model_id_supported": True,
        }


class TestPrefixes:
    @pytest.mark.parametrize("prefix", PREFIXES)
    async def test_all_serve_the_same(self, client: httpx.AsyncClient, prefix: str) -> None:
        answer = await client.get(f"{prefix}/mlflow/experiments/get?experiment_id=0")
        assert ok(answer) == {"experiment": await get_experiment(client, "0")}
        found = await client.post(f"{prefix}/mlflow/experiments/search", json={"max_results": 1})
        assert ok(found)["experiments"] == [ok(answer)["experiment"]]
        assert ok(await client.get(f"{prefix}/mlflow-artifacts/artifacts")) == {}
        assert ok(await client.get(f"{prefix}/mlflow/server-info"))["workspaces_enabled"]


class TestNotServed:
    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize(
        ("status", "method", "path"),
        [
            (404, "GET", "mlflow/nope"),
            (404, "POST", "mlflow/nope"),
            (404, "GET", "mlflow/"),
            (405, "POST", "mlflow/traces"),
            (404, "PATCH", "mlflow/traces/tr-1"),
            (404, "GET", "mlflow/runs/get/more"),
            (405, "GET", "mlflow/runs/create"),
            (405, "POST", "mlflow/runs/get"),
            (405, "PUT", "mlflow/runs/create"),
            (405, "DELETE", "mlflow/experiments/search"),
            (405, "PUT", "mlflow/logged-models/m-1"),
            (404, "GET", "mlflow-artifacts/nope"),
            (404, "POST", "mlflow-artifacts/mpu/nope/x"),
            (405, "GET", "mlflow-artifacts/mpu/create/x"),
            (405, "PUT", "mlflow-artifacts/presigned/x"),
            (405, "DELETE", "mlflow-artifacts/signed/x"),
            (405, "POST", "mlflow-artifacts/artifacts/x"),
            (405, "PATCH", "mlflow-artifacts/artifacts"),
            (405, "DELETE", "mlflow-artifacts/artifacts"),
        ],
    )
    async def test_in_mlflows_words(
        self, client: httpx.AsyncClient, prefix: str, status: int, method: str, path: str
    ) -> None:
        answer = await client.request(method, f"{prefix}/{path}")
        refused(
            answer,
            status,
            "ENDPOINT_NOT_FOUND",
            f"{method} {answer.request.url.path} is not served here. This server keeps"
            " experiments, runs, metrics, logged models, registered models and artifacts; see /docs"
            " for its own API.",
        )
        assert answer.headers["content-type"] == "application/json"
