"""Artifact calls read the location of a run or a logged model, and nothing else of it."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.kernel.artifact_uris import ModelLocation, RunLocation
from app.kernel.errors import ConflictError, LoggedModelNotFoundError, RunNotFoundError
from app.runs.entities import Point, RunWrite
from tests.integration.artifacts.test_transfers import Site, ok, site_of
from tests.support.statements import recorded_statements

MLFLOW = "/api/2.0/mlflow"
RUNS = "/api/v1/experiments/runs"

# Tables whose rows grow with what is logged.
_LOGGED = re.compile(
    r"\b(FROM|JOIN) (params|run_tags|metric_series|metric_points|inputs|input_tags"
    r"|logged_model_(params|tags|metrics)|run_models)\b"
)


@pytest.fixture
async def site(app: FastAPI) -> AsyncIterator[Site]:
    async with site_of(app) as site:
        yield site


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return recorded_statements(monkeypatch)


async def run_with_much(site: Site) -> str:
    """A run with 500 params and 500 metrics, and the files `f/a` and `f/b`."""
    run = await site.services.runs.create(
        site.tenant, "0", params={f"param{n}": "x" for n in range(500)}
    )
    points = [Point(f"metric{n}", 1.0, 1) for n in range(500)]
    await site.services.runs.log(site.tenant, RunWrite(run.run_id.hex, points=points))
    for name in ("a", "b"):
        ok(await upload(site, run.run_id.hex, name))
    return run.run_id.hex


async def upload(site: Site, run_id: str, name: str) -> httpx.Response:
    return await site.client.post(
        f"{RUNS}/{run_id}/log-artifact", data={"artifact_path": "f"}, files={"file": (name, b"x")}
    )


async def artifact_call(site: Site, call: str, run_id: str) -> httpx.Response:
    files = f"{RUNS}/{run_id}/artifacts"
    match call:
        case "MLflow's list":
            return await site.client.get(f"{MLFLOW}/artifacts/list", params={"run_id": run_id})
        case "presigned download":
            return await site.client.post(
                f"{MLFLOW}/artifacts/presigned-download-url",
                json={"run_id": run_id, "path": "f/a"},
            )
        case "presigned upload":
            return await site.client.post(
                f"{MLFLOW}/artifacts/presigned-upload-url", json={"run_id": run_id, "path": "c"}
            )
        case "list":
            return await site.client.get(files)
        case "download":
            return await site.client.get(f"{files}/f/a")
        case "preview":
            return await site.client.get(f"{files}/f/a?preview")
        case "archive":
            return await site.client.get(f"{files}/f?archive=zip")
        case "log-artifact":
            return await upload(site, run_id, "c")
        case "upload":
            return await site.client.post(files, files={"file": ("d", b"x")})
        case "copy":
            return await site.client.post(f"{files}/copy", json={"source_path": "f/a", "path": "e"})
        case "delete":
            return await site.client.delete(f"{files}/f/a")
    raise AssertionError(call)


READS = ["MLflow's list", "presigned download", "list", "download", "preview", "archive"]
WRITES = ["presigned upload", "log-artifact", "upload", "copy", "delete"]


@pytest.mark.parametrize("call", READS + WRITES)
async def test_of_a_run(site: Site, statements: list[str], call: str) -> None:
    run_id = await run_with_much(site)
    statements.clear()
    answer = await artifact_call(site, call, run_id)
    assert answer.status_code in (200, 204), answer.text
    assert [text for text in statements if _LOGGED.search(text)] == []
    assert len([text for text in statements if "artifact_location" in text]) == 1


@pytest.mark.parametrize("call", READS + WRITES)
async def test_of_a_deleted_run(site: Site, call: str) -> None:
    run_id = await run_with_much(site)
    await site.services.runs.delete(site.tenant, run_id)
    answer = await artifact_call(site, call, run_id)
    # MLflow's error for a deleted run is a 400, the workbench's a 409.
    refusal = 400 if call == "presigned upload" else 409
    assert answer.status_code == (200 if call in READS else refusal), answer.text


@pytest.mark.parametrize("call", ["list", "presigned upload"])
async def test_of_a_logged_model(site: Site, statements: list[str], call: str) -> None:
    model = await site.services.models.create(
        site.tenant,
        "0",
        params={f"param{n}": "x" for n in range(100)},
        tags={f"tag{n}": "x" for n in range(100)},
    )
    statements.clear()
    if call == "list":
        ok(await site.client.get(f"{MLFLOW}/logged-models/{model.model_id}/artifacts/directories"))
    else:
        ok(
            await site.client.post(
                f"{MLFLOW}/artifacts/presigned-upload-url",
                json={"model_id": model.model_id, "path": "a"},
            )
        )
    assert [text for text in statements if _LOGGED.search(text)] == []
    assert len([text for text in statements if "artifact_location" in text]) == 1


async def test_whole_runs_and_models_read_what_was_logged(
    site: Site, statements: list[str]
) -> None:
    """The pattern of the tests above finds the statements that read params and metrics."""
    run_id = await run_with_much(site)
    model = await site.services.models.create(site.tenant, "0")
    statements.clear()
    await site.services.runs.get(site.tenant, run_id)
    await site.services.models.get(site.tenant, model.model_id)
    found = {match[2] for text in statements if (match := _LOGGED.search(text))}
    assert {"params", "run_tags", "metric_series"} <= found
    assert {"logged_model_params", "logged_model_tags", "logged_model_metrics"} <= found


class TestLocate:
    async def test_a_run(self, site: Site) -> None:
        run = await site.services.runs.create(site.tenant, "0")
        located = await site.services.runs.locate(site.tenant, run.run_id.hex)
        assert located == RunLocation(run.run_id, run.artifact_uri, None)
        assert located.folder == f"experiments/0/runs/{run.run_id.hex}/artifacts"
        await site.services.runs.delete(site.tenant, run.run_id.hex)
        located = await site.services.runs.locate(site.tenant, run.run_id.hex)
        assert located.deleted_time is not None

    async def test_a_run_elsewhere(self, site: Site) -> None:
        experiment_id = await site.services.experiments.create(
            site.tenant, "elsewhere", artifact_location="s3://bucket/x"
        )
        run = await site.services.runs.create(site.tenant, str(experiment_id))
        located = await site.services.runs.locate(site.tenant, run.run_id.hex)
        assert located.artifact_uri == f"s3://bucket/x/{run.run_id.hex}/artifacts"
        with pytest.raises(ConflictError, match="s3://bucket/x"):
            _ = located.folder

    async def test_no_run(self, site: Site) -> None:
        for run_id in ("0" * 32, "no id"):
            with pytest.raises(RunNotFoundError):
                await site.services.runs.locate(site.tenant, run_id)

    async def test_another_tenants_run(self, site: Site, app: FastAPI) -> None:
        async with site_of(app) as other:
            run = await other.services.runs.create(other.tenant, "0")
            with pytest.raises(RunNotFoundError):
                await site.services.runs.locate(site.tenant, run.run_id.hex)

    async def test_a_model(self, site: Site) -> None:
        model = await site.services.models.create(site.tenant, "0")
        located = await site.services.models.locate(site.tenant, model.model_id)
        assert located == ModelLocation(model.model_id, model.artifact_uri)
        await site.services.models.delete(site.tenant, model.model_id)
        with pytest.raises(LoggedModelNotFoundError):
            await site.services.models.locate(site.tenant, model.model_id)
