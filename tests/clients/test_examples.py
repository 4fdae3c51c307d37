"""The scripts in examples/, run as their readers run them: a real client, a live server."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.conftest import ROOT

TOUR = ROOT / "examples" / "mlflow_tour.py"
API = "/api/2.0/mlflow"


def environment(tracking_uri: str, home: Path) -> Mapping[str, str]:
    """This process's, without what is set for other MLflow servers."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return kept | {
        "MLFLOW_TRACKING_URI": tracking_uri,
        # A connection that is refused should fail the test, and not be tried for minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MPLBACKEND": "Agg",
        "HOME": str(home),
    }


async def take_tour(tracking_uri: str, folder: Path) -> str:
    """Run the tour in a folder of its own; what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(TOUR),
        cwd=folder,
        env=environment(tracking_uri, folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


class Seen:
    """What a tenant sees over raw HTTP: names and ids of everything it has."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.experiments: dict[str, str] = {}
        self.runs: set[str] = set()
        self.models: set[str] = set()

    @classmethod
    async def by(cls, client: httpx.AsyncClient) -> "Seen":
        seen = cls(client)
        for one in (await seen._post("experiments/search", max_results=100))["experiments"]:
            seen.experiments[one["experiment_id"]] = one["name"]
        seen.runs, seen.models = await seen.within(seen.experiments)
        return seen

    async def within(self, experiment_ids: Mapping[str, str]) -> tuple[set[str], set[str]]:
        """The ids of the runs and of the models that it finds in these experiments."""
        ids = list(experiment_ids)
        runs = await self._post("runs/search", experiment_ids=ids, run_view_type="ALL")
        models = await self._post("logged-models/search", experiment_ids=ids)
        return (
            {run["info"]["run_id"] for run in runs.get("runs", [])},
            {model["info"]["model_id"] for model in models.get("models", [])},
        )

    async def get(self, route: str, **fields: str) -> httpx.Response:
        return await self._client.get(f"{API}/{route}", params=fields)

    async def _post(self, route: str, **message: Any) -> dict[str, Any]:
        answer = await self._client.post(f"{API}/{route}", json=message)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.mark.timeout(300)
async def test_tour_of_two_tenants_side_by_side(
    server_url: str, tenant: Tenant, other_tenant: Tenant, tmp_path: Path
) -> None:
    uris = [f"{server_url}/t/{one.slug}" for one in (tenant, other_tenant)]
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    printed = await asyncio.gather(*map(take_tour, uris, folders))
    for uri, output in zip(uris, printed, strict=True):
        assert f"of {uri}: all as logged" in output

    async with (
        httpx.AsyncClient(base_url=uris[0]) as client,
        httpx.AsyncClient(base_url=uris[1]) as other_client,
    ):
        one, other = await Seen.by(client), await Seen.by(other_client)
        # Experiment 0 is each one's own; every other id is of one of them only.
        assert one.experiments.keys() & other.experiments.keys() == {"0"}
        assert not one.runs & other.runs
        assert not one.models & other.models
        for mine, theirs in ((one, other), (other, one)):
            assert len(mine.experiments) == 2
            assert len(mine.runs) >= 9
            assert mine.models
            await sees_nothing_of(mine, theirs)


async def sees_nothing_of(mine: Seen, theirs: Seen) -> None:
    """Asked for by id, or searched for in their experiments, nothing of theirs is there."""
    elsewhere = {key: name for key, name in theirs.experiments.items() if key != "0"}
    assert await mine.within(elsewhere) == (set(), set())
    for route, field, ids in (
        ("experiments/get", "experiment_id", elsewhere),
        ("runs/get", "run_id", theirs.runs),
        ("artifacts/list", "run_id", theirs.runs),
    ):
        for key in ids:
            assert (await mine.get(route, **{field: key})).status_code == 404
    for model_id in theirs.models:
        assert (await mine.get(f"logged-models/{model_id}")).status_code == 404
