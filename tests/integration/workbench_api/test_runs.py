"""Runs in the workbench API."""

import re
from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.integration.workbench_api.support import (
    ABSENT_RUN,
    RUNS,
    V1,
    assert_problem,
    log,
    new_experiment,
    new_run,
)

MLFLOW = "/api/2.0/mlflow"


class TestCreateRun:
    async def test_minimal(
        self, client: httpx.AsyncClient, experiment: dict[str, Any], tenant: Tenant
    ) -> None:
        response = await client.post(RUNS, json={"experiment_id": experiment["id"]})
        assert response.status_code == 201
        run = response.json()
        assert re.fullmatch(r"[0-9a-f]{32}", run.pop("id"))
        assert run.pop("name")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", run.pop("start_time"))
        assert run == {
            "experiment_id": experiment["id"],
            "description": "",
            "status": "running",
            "lifecycle_stage": "active",
            "user_id": None,
            "parent_run_id": None,
            "end_time": None,
            "duration_seconds": None,
            "tags": {"matih.tenant_id": tenant.slug},
            "params": {},
            "metrics": {},
            "artifacts": [],
        }

    async def test_whole(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        made = await new_run(
            client,
            name="Läufer 跑 🏃",
            description="what it is for",
            tags={"model_type": "xgboost"},
            params={"text": "a", "int": 3, "float": 0.1, "tiny": 1e-05, "bool": True},
            parent_run_id=run["id"],
        )
        assert made["name"] == "Läufer 跑 🏃"
        assert made["description"] == "what it is for"
        assert made["parent_run_id"] == run["id"]
        assert made["tags"].keys() == {"model_type", "matih.tenant_id"}
        assert made["params"] == {
            "text": "a",
            "int": "3",
            "float": "0.1",
            "tiny": "1e-05",
            "bool": "true",
        }
        assert (await client.get(f"{RUNS}/{made['id']}")).json() == made

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"experiment_id": None}, "experiment_id"),
            ({"experiment_id": 0}, "experiment_id"),
            ({"name": "a\x00"}, "name"),
            ({"name": 5}, "name"),
            ({"description": "\x00"}, "description"),
            ({"description": "d" * 65_537}, "description"),
            ({"tags": {"k": 5}}, "tags.k"),
            ({"tags": {"mlflow.runName": "n"}}, "tags.mlflow.runName"),
            ({"params": {"p": None}}, "params.p"),
            ({"params": {"p": [1]}}, "params.p"),
            ({"params": {"p": "\x00"}}, "params.p"),
            ({"params": {"../p": "v"}}, "params.../p"),
            ({"params": {"": "v"}}, "params."),
            ({"start_time": 5}, "start_time"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        assert_problem(await client.post(RUNS, json={"experiment_id": "0"} | body), 422, field)

    async def test_without_experiment(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.post(RUNS, json={}), 422, "experiment_id")

    @pytest.mark.parametrize("absent", ["123456789012345678", "abc", "", "\x00"])
    async def test_absent_experiment(self, client: httpx.AsyncClient, absent: str) -> None:
        response = await client.post(RUNS, json={"experiment_id": absent})
        assert_problem(response, 404, "experiment_id")

    async def test_archived_experiment(
        self, client: httpx.AsyncClient, experiment: dict[str, Any]
    ) -> None:
        await client.delete(f"{V1}/experiments/{experiment['id']}")
        response = await client.post(RUNS, json={"experiment_id": experiment["id"]})
        assert_problem(response, 409, "experiment_id")

    @pytest.mark.parametrize("absent", [ABSENT_RUN, "abc", ""])
    async def test_absent_parent(self, client: httpx.AsyncClient, absent: str) -> None:
        response = await client.post(RUNS, json={"experiment_id": "0", "parent_run_id": absent})
        problem = assert_problem(response, 404, "parent_run_id")
        assert absent in problem["detail"]


class TestListRuns:
    async def names(self, client: httpx.AsyncClient, **params: Any) -> list[str]:
        response = await client.get(RUNS, params=params)
        assert response.status_code == 200, response.text
        listed = response.json()
        assert list(listed) == ["runs", "total", "limit", "offset"]
        names = [one["name"] for one in listed["runs"]]
        if "limit" not in params:
            assert listed["total"] == len(names)
        return names

    async def test_newest_first_of_all_experiments(
        self, client: httpx.AsyncClient, experiment: dict[str, Any]
    ) -> None:
        await new_run(client, name="a")
        await new_run(client, name="b", experiment_id=experiment["id"])
        assert await self.names(client) == ["b", "a"]

    async def test_whole_runs(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await log(client, run["id"], metrics={"m": 1}, params={"p": "v"})
        (listed,) = (await client.get(RUNS)).json()["runs"]
        assert listed == (await client.get(f"{RUNS}/{run['id']}")).json()
        assert listed["metrics"] == {"m": 1.0}

    async def test_by_experiments(self, client: httpx.AsyncClient) -> None:
        ids = []
        for name in ("a", "b", "c"):
            made = await new_experiment(client, name=name)
            ids.append(made["id"])
            await new_run(client, name=name, experiment_id=made["id"])
        assert await self.names(client, experiment_id=ids[0]) == ["a"]
        assert await self.names(client, experiment_id=ids[1:]) == ["c", "b"]

    @pytest.mark.parametrize("absent", ["123456789012345678", "abc", "9" * 40])
    async def test_absent_experiment(self, client: httpx.AsyncClient, absent: str) -> None:
        await new_run(client)
        assert await self.names(client, experiment_id=absent) == []

    async def test_by_status(self, client: httpx.AsyncClient) -> None:
        for name, status in (("a", "finished"), ("b", "failed"), ("c", "killed"), ("d", None)):
            made = await new_run(client, name=name)
            if status:
                await client.post(f"{RUNS}/{made['id']}/end", json={"status": status})
        assert await self.names(client, status="running") == ["d"]
        assert await self.names(client, status=["finished", "killed"]) == ["c", "a"]
        assert await self.names(client, status="scheduled") == []

    async def test_filter_and_order(self, client: httpx.AsyncClient) -> None:
        for name, loss in (("a", 0.3), ("b", 0.1), ("c", 0.2), ("d", 0.9)):
            made = await new_run(client, name=name, params={"model": "xgb"})
            await log(client, made["id"], metrics={"loss": loss})
        assert await self.names(
            client,
            filter="metrics.loss < 0.5 AND params.model = 'xgb'",
            order_by=["metrics.loss DESC"],
        ) == ["a", "c", "b"]
        assert await self.names(client, order_by=["params.model", "metrics.loss"]) == [
            "b",
            "c",
            "a",
            "d",
        ]

    async def test_pages(self, client: httpx.AsyncClient) -> None:
        for name in "abcde":
            await new_run(client, name=name)
        page = (await client.get(RUNS, params={"limit": 2, "offset": 1})).json()
        assert [one["name"] for one in page["runs"]] == ["d", "c"]
        assert (page["total"], page["limit"], page["offset"]) == (5, 2, 1)

    async def test_lifecycle_stage(
        self, client: httpx.AsyncClient, deleted_run: dict[str, Any]
    ) -> None:
        await new_run(client, name="kept")
        assert await self.names(client) == ["kept"]
        assert await self.names(client, lifecycle_stage="deleted") == ["baseline"]
        assert await self.names(client, lifecycle_stage="all") == ["kept", "baseline"]

    async def test_archived_experiment(
        self, client: httpx.AsyncClient, experiment: dict[str, Any], run: dict[str, Any]
    ) -> None:
        await client.delete(f"{V1}/experiments/{experiment['id']}")
        assert await self.names(client) == []
        assert await self.names(client, lifecycle_stage="deleted") == ["baseline"]

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"limit": 0}, "limit"),
            ({"limit": 1001}, "limit"),
            ({"offset": -1}, "offset"),
            ({"status": "FINISHED"}, "status[0]"),
            ({"status": ["running", "done"]}, "status[1]"),
            ({"lifecycle_stage": "gone"}, "lifecycle_stage"),
            ({"filter": "metrics.loss <"}, "filter"),
            ({"filter": "\x00"}, "filter"),
            ({"order_by": "nothing"}, "order_by"),
            ({"experimentid": "0"}, "experimentid"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, params: dict[str, Any], field: str
    ) -> None:
        assert_problem(await client.get(RUNS, params=params), 422, field)

    async def test_unknown_tenant(self, client: httpx.AsyncClient) -> None:
        response = await client.get(f"http://test/t/nobody-yet{RUNS}")
        assert response.json()["total"] == 0


class TestGetRun:
    async def test_of_mlflow(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        """A run with the tags that MLflow's client sets."""
        created = await client.post(
            f"{MLFLOW}/runs/create",
            json={
                "experiment_id": "0",
                "user_id": "ada",
                "start_time": 1_700_000_000_123,
                "run_name": "by mlflow",
                "tags": [
                    {"key": "mlflow.source.name", "value": "train.py"},
                    {"key": "mlflow.note.content", "value": "a note"},
                    {"key": "own", "value": "1"},
                ],
            },
        )
        run_id = created.json()["run"]["info"]["run_id"]
        await client.post(
            f"{MLFLOW}/runs/update",
            json={"run_id": run_id, "status": "FINISHED", "end_time": 1_700_000_090_623},
        )
        shown = (await client.get(f"{RUNS}/{run_id}")).json()
        assert shown["name"] == "by mlflow"
        assert shown["user_id"] == "ada"
        assert shown["description"] == "a note"
        assert shown["status"] == "finished"
        assert shown["start_time"] == "2023-11-14T22:13:20.123Z"
        assert shown["end_time"] == "2023-11-14T22:14:50.623Z"
        assert shown["duration_seconds"] == 90.5
        assert shown["tags"] == {"own": "1", "matih.tenant_id": tenant.slug}

    async def test_times_beyond_the_calendar(self, client: httpx.AsyncClient) -> None:
        created = await client.post(
            f"{MLFLOW}/runs/create", json={"experiment_id": "0", "start_time": 2**63 - 1}
        )
        run_id = created.json()["run"]["info"]["run_id"]
        shown = (await client.get(f"{RUNS}/{run_id}")).json()
        assert shown["start_time"] == "9999-12-31T23:59:59.999Z"

    async def test_scheduled(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await client.post(
            f"{MLFLOW}/runs/update", json={"run_id": run["id"], "status": "SCHEDULED"}
        )
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["status"] == "scheduled"

    async def test_deleted(self, client: httpx.AsyncClient, deleted_run: dict[str, Any]) -> None:
        shown = (await client.get(f"{RUNS}/{deleted_run['id']}")).json()
        assert shown["lifecycle_stage"] == "deleted"

    @pytest.mark.parametrize("absent", [ABSENT_RUN, "abc", "A" * 32, "%00", "x" * 500])
    async def test_absent(self, client: httpx.AsyncClient, absent: str) -> None:
        assert_problem(await client.get(f"{RUNS}/{absent}"), 404, "run_id")


class TestUpdateRun:
    async def test_all_at_once(self, client: httpx.AsyncClient) -> None:
        made = await new_run(client, name="old", description="d", tags={"kept": "1", "gone": "2"})
        response = await client.patch(
            f"{RUNS}/{made['id']}",
            json={
                "name": "new",
                "description": "better",
                "tags": {"gone": None, "added": "3", "never": None},
            },
        )
        assert response.status_code == 200
        changed = response.json()
        tenant_tag = {"matih.tenant_id": made["tags"]["matih.tenant_id"]}
        assert changed == made | {
            "name": "new",
            "description": "better",
            "tags": {"kept": "1", "added": "3"} | tenant_tag,
        }
        assert (await client.get(f"{RUNS}/{made['id']}")).json() == changed

    @pytest.mark.parametrize("nothing", [None, ""])
    async def test_description_removed(
        self, client: httpx.AsyncClient, nothing: str | None
    ) -> None:
        made = await new_run(client, description="d")
        response = await client.patch(f"{RUNS}/{made['id']}", json={"description": nothing})
        assert response.json()["description"] == ""

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": "\x00"}, "name"),
            ({"description": "\x00"}, "description"),
            ({"tags": {"mlflow.parentRunId": "x"}}, "tags.mlflow.parentRunId"),
            ({"tags": {"mlflow.runName": None}}, "tags.mlflow.runName"),
            ({"tags": {"matih.tenant_id": None}}, "tags.matih.tenant_id"),
            ({"status": "finished"}, "status"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: dict[str, Any], field: str
    ) -> None:
        assert_problem(await client.patch(f"{RUNS}/{run['id']}", json=body), 422, field)

    async def test_deleted(self, client: httpx.AsyncClient, deleted_run: dict[str, Any]) -> None:
        response = await client.patch(f"{RUNS}/{deleted_run['id']}", json={"name": "new"})
        assert_problem(response, 409, "run_id")


class TestDeleteRun:
    async def test_twice(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        for _ in range(2):
            response = await client.delete(f"{RUNS}/{run['id']}")
            assert response.status_code == 204
            assert response.content == b""

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.delete(f"{RUNS}/{ABSENT_RUN}"), 404, "run_id")


class TestRestoreRun:
    async def test_deleted(self, client: httpx.AsyncClient, deleted_run: dict[str, Any]) -> None:
        response = await client.post(f"{RUNS}/{deleted_run['id']}/restore")
        assert response.status_code == 200
        assert response.json() == deleted_run

    async def test_active(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(f"{RUNS}/{run['id']}/restore")
        assert response.status_code == 200
        assert response.json() == run

    async def test_absent(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.post(f"{RUNS}/{ABSENT_RUN}/restore"), 404, "run_id")


class TestEndRun:
    @pytest.mark.parametrize("status", ["finished", "failed", "killed"])
    async def test_status(
        self, client: httpx.AsyncClient, run: dict[str, Any], status: str
    ) -> None:
        response = await client.post(f"{RUNS}/{run['id']}/end", json={"status": status})
        assert response.status_code == 200
        ended = response.json()
        assert ended["status"] == status
        assert ended["end_time"] >= ended["start_time"]
        assert 0 <= ended["duration_seconds"] < 60

    @pytest.mark.parametrize("body", [None, {}])
    async def test_finished_by_default(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: object
    ) -> None:
        arguments = {} if body is None else {"json": body}
        response = await client.post(f"{RUNS}/{run['id']}/end", **arguments)
        assert response.json()["status"] == "finished"

    async def test_end_time(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(f"{RUNS}/{run['id']}/end", json={"end_time": 4102444800001})
        assert response.json()["end_time"] == "2100-01-01T00:00:00.001Z"

    async def test_again_keeps_the_end(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        await client.post(f"{RUNS}/{run['id']}/end", json={"end_time": 4102444800001})
        response = await client.post(f"{RUNS}/{run['id']}/end", json={"status": "failed"})
        assert response.json()["status"] == "failed"
        assert response.json()["end_time"] == "2100-01-01T00:00:00.001Z"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"status": "FINISHED"}, "status"),
            ({"status": "running"}, "status"),
            ({"status": None}, "status"),
            ({"end_time": -1}, "end_time"),
            ({"end_time": 1000}, "end_time"),
            ({"end_time": "2025-01-01T00:00:00Z"}, "end_time"),
            ({"end_time": 1.5}, "end_time"),
            ({"end_time": True}, "end_time"),
            ({"end_time": 10**18}, "end_time"),
            ({"end_tme": 5}, "end_tme"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: dict[str, Any], field: str
    ) -> None:
        assert_problem(await client.post(f"{RUNS}/{run['id']}/end", json=body), 422, field)

    async def test_deleted(self, client: httpx.AsyncClient, deleted_run: dict[str, Any]) -> None:
        response = await client.post(f"{RUNS}/{deleted_run['id']}/end", json={})
        assert_problem(response, 409, "run_id")
