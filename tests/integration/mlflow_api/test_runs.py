"""The lifecycle of runs, with the rules of MLflow 3.17's server."""

from typing import Any

import httpx
import pytest

from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import invalid
from tests.integration.mlflow_api.tracking_calls import (
    NO_EXPERIMENT,
    NO_RUN,
    absent_experiment,
    absent_run,
    deleted_run,
    done,
    get,
    get_run,
    missing,
    new_experiment,
    new_run,
    ok,
    pairs,
    post,
    run_is_deleted,
    tags_of,
    wrong_type,
)

NAME_TAG = "mlflow.runName"
STATUSES = ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
NO_SUCH_RUNS = [NO_RUN, "nope", NO_RUN.replace("0", "A"), "0" * 33, "é" * 32]


async def runs_of(client: httpx.AsyncClient, experiment_id: str = "0") -> list[dict[str, Any]]:
    message = {"experiment_ids": [experiment_id], "run_view_type": "ALL"}
    return ok(await post(client, "runs/search", **message)).get("runs", [])


class TestCreate:
    async def test_shape(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        answer = await post(
            client,
            "runs/create",
            experiment_id="0",
            run_name="first",
            user_id="ada",
            start_time=1234,
            tags=pairs(team="vision"),
        )
        run = ok(answer)["run"]
        run_id = run["info"]["run_id"]
        assert run == {
            "info": {
                "run_id": run_id,
                "run_uuid": run_id,
                "run_name": "first",
                "experiment_id": "0",
                "user_id": "ada",
                "status": "RUNNING",
                "start_time": 1234,
                "artifact_uri": f"mlflow-artifacts:/experiments/0/runs/{run_id}/artifacts",
                "lifecycle_stage": "active",
            },
            "data": {
                "tags": [
                    {"key": "team", "value": "vision"},
                    {"key": NAME_TAG, "value": "first"},
                    {"key": "matih.tenant_id", "value": tenant.slug},
                ]
            },
            "inputs": {},
        }
        assert await get_run(client, run_id) == run | {"outputs": {}}

    async def test_id_is_32_hex_digits(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        assert len(run_id) == 32
        assert int(run_id, 16)

    async def test_no_experiment_is_experiment_0(self, client: httpx.AsyncClient) -> None:
        for message in ({}, {"experiment_id": ""}, {"experiment_id": None}):
            run = ok(await post(client, "runs/create", **message))["run"]
            assert run["info"]["experiment_id"] == "0"

    async def test_artifacts_below_the_experiments_location(
        self, client: httpx.AsyncClient
    ) -> None:
        experiment_id = await new_experiment(client, artifact_location="s3://bucket/x")
        run_id = await new_run(client, experiment_id)
        uri = (await get_run(client, run_id))["info"]["artifact_uri"]
        assert uri == f"s3://bucket/x/{run_id}/artifacts"

    @pytest.mark.parametrize("given", [{"run_name": "n"}, {"tags": pairs(**{NAME_TAG: "n"})}])
    async def test_name_by_field_or_tag(
        self, client: httpx.AsyncClient, given: dict[str, Any]
    ) -> None:
        run = await get_run(client, await new_run(client, **given))
        assert run["info"]["run_name"] == "n"
        assert tags_of(run["data"])[NAME_TAG] == "n"

    async def test_random_name(self, client: httpx.AsyncClient) -> None:
        run = await get_run(client, await new_run(client))
        assert run["info"]["run_name"]
        assert tags_of(run["data"])[NAME_TAG] == run["info"]["run_name"]

    async def test_two_names(self, client: httpx.AsyncClient) -> None:
        message = {"run_name": "a", "tags": pairs(**{NAME_TAG: "b"})}
        invalid(
            await post(client, "runs/create", experiment_id="0", **message),
            "Both 'run_name' argument and 'mlflow.runName' tag are specified,"
            " but with different values (run_name='a', mlflow.runName='b').",
        )
        assert await runs_of(client) == []

    @pytest.mark.parametrize(
        ("given", "kept"), [({}, 0), ({"start_time": None}, 0), ({"start_time": "7"}, 7)]
    )
    async def test_start_time(
        self, client: httpx.AsyncClient, given: dict[str, Any], kept: int
    ) -> None:
        run = await get_run(client, await new_run(client, **given))
        assert run["info"]["start_time"] == kept

    @pytest.mark.parametrize(
        ("field", "value", "shown", "type_name"),
        [
            ("experiment_id", 5, "5", "int"),
            ("run_name", 5, "5", "int"),
            ("user_id", [], "[]", "list"),
            ("start_time", "x", '"x"', "str"),
            ("start_time", 1.5, "1.5", "float"),
            ("start_time", True, "true", "bool"),
            ("tags", "x", '"x"', "str"),
        ],
    )
    async def test_wrong_type(
        self, client: httpx.AsyncClient, field: str, value: Any, shown: str, type_name: str
    ) -> None:
        wrong_type(await post(client, "runs/create", **{field: value}), field, shown, type_name)
        assert await runs_of(client) == []

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            ({"start_time": 2**63}, "'start_time'"),
            ({"run_name": "\x00"}, "'run_name'"),
            ({"user_id": "\x00"}, "'user_id'"),
            ({"tags": pairs(**{"k" * 251: "v"})}, "key' exceeds the maximum length of 250"),
            ({"tags": pairs(**{"a!b": "v"})}, "key'"),
            ({"tags": [{"value": "v"}]}, "key'"),
            ({"experiment_id": "abc"}, "Invalid experiment ID 'abc'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, message: dict[str, Any], words: str
    ) -> None:
        invalid(await post(client, "runs/create", **message), words)
        assert await runs_of(client) == []

    async def test_unknown_experiment(self, client: httpx.AsyncClient) -> None:
        answer = await post(client, "runs/create", experiment_id=NO_EXPERIMENT, tags=pairs(a="1"))
        absent_experiment(answer, NO_EXPERIMENT)


class TestGet:
    async def test_either_name_of_the_id(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        shown = ok(await get(client, "runs/get", run_id=run_id))
        assert ok(await get(client, "runs/get", run_uuid=run_id)) == shown
        assert ok(await get(client, "runs/get", run_id=run_id, run_uuid=NO_RUN)) == shown

    async def test_data(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        """Sorted by key; 64-bit integers as numbers."""
        run_id = await new_run(client, run_name="n")
        await post(
            client,
            "runs/log-batch",
            run_id=run_id,
            metrics=[
                {"key": "z", "value": 1, "timestamp": 2**62, "step": -(2**62)},
                {"key": "a", "value": 0.1, "timestamp": 5},
            ],
            params=pairs(q="", p="1"),
            tags=pairs(t="1", s="2"),
        )
        assert (await get_run(client, run_id))["data"] == {
            "metrics": [
                {"key": "a", "value": 0.1, "timestamp": 5, "step": 0},
                {"key": "z", "value": 1.0, "timestamp": 2**62, "step": -(2**62)},
            ],
            "params": pairs(p="1", q=""),
            "tags": pairs(s="2", t="1", **{NAME_TAG: "n", "matih.tenant_id": tenant.slug}),
        }

    async def test_deleted_is_shown(self, client: httpx.AsyncClient) -> None:
        run = await get_run(client, await deleted_run(client))
        assert run["info"]["lifecycle_stage"] == "deleted"

    @pytest.mark.parametrize("fields", [{}, {"run_id": ""}])
    async def test_missing_id(self, client: httpx.AsyncClient, fields: dict[str, str]) -> None:
        missing(await get(client, "runs/get", **fields), "run_id")

    @pytest.mark.parametrize("run_id", NO_SUCH_RUNS)
    async def test_unknown(self, client: httpx.AsyncClient, run_id: str) -> None:
        absent_run(await get(client, "runs/get", run_id=run_id), run_id)


class TestUpdate:
    async def test_ends_a_run(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        answer = await post(
            client, "runs/update", run_id=run_id, status="FINISHED", end_time=77, run_name="done"
        )
        info = ok(answer)["run_info"]
        assert (info["status"], info["end_time"], info["run_name"]) == ("FINISHED", 77, "done")
        run = await get_run(client, run_id)
        assert run["info"] == info
        assert tags_of(run["data"])[NAME_TAG] == "done"

    async def test_what_is_not_given_stays(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client, run_name="n")
        ended = ok(await post(client, "runs/update", run_id=run_id, status="FAILED", end_time=7))
        for message in ({}, {"status": None, "end_time": None}, {"run_name": ""}):
            assert ok(await post(client, "runs/update", run_id=run_id, **message)) == ended

    @pytest.mark.parametrize("status", STATUSES)
    async def test_status_by_name_or_number(self, client: httpx.AsyncClient, status: str) -> None:
        run_id = await new_run(client)
        for given in (status, STATUSES.index(status) + 1):
            answer = ok(await post(client, "runs/update", run_uuid=run_id, status=given))
            assert answer["run_info"]["status"] == status

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            ({"status": "BOGUS"}, "'status'"),
            ({"status": 9}, "Invalid value 9 for parameter 'status'"),
            ({"status": []}, "'status'"),
            ({"end_time": "x"}, "Invalid value \"x\" for parameter 'end_time'"),
            ({"end_time": 2**63}, "'end_time'"),
            ({"run_name": 5}, "'run_name'"),
            ({"run_name": "\x00"}, "'run_name'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, message: dict[str, Any], words: str
    ) -> None:
        run_id = await new_run(client)
        before = await get_run(client, run_id)
        message = {"status": "FINISHED", "end_time": 1} | message
        invalid(await post(client, "runs/update", run_id=run_id, **message), words)
        assert await get_run(client, run_id) == before

    async def test_deleted(self, client: httpx.AsyncClient) -> None:
        run_id = await deleted_run(client)
        run_is_deleted(await post(client, "runs/update", run_id=run_id, status="FAILED"), run_id)

    async def test_missing_id(self, client: httpx.AsyncClient) -> None:
        missing(await post(client, "runs/update", status="FAILED"), "run_id")


class TestDeleteAndRestore:
    async def test_back_and_forth(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client, tags=pairs(a="1"))
        before = await get_run(client, run_id)
        for _ in range(2):
            done(await post(client, "runs/delete", run_id=run_id))
        assert (await get_run(client, run_id))["info"]["lifecycle_stage"] == "deleted"
        for _ in range(2):
            done(await post(client, "runs/restore", run_id=run_id))
        assert await get_run(client, run_id) == before

    @pytest.mark.parametrize("route", ["runs/delete", "runs/restore"])
    async def test_missing_id(self, client: httpx.AsyncClient, route: str) -> None:
        for fields in ({}, {"run_id": ""}, {"run_id": None}):
            missing(await post(client, route, **fields), "run_id")


class TestAbsent:
    @pytest.mark.parametrize(
        ("route", "fields"),
        [
            ("runs/update", {"status": "FAILED"}),
            ("runs/delete", {}),
            ("runs/restore", {}),
            ("runs/log-metric", {"key": "k", "value": 1, "timestamp": 1}),
            ("runs/log-parameter", {"key": "k", "value": "v"}),
            ("runs/set-tag", {"key": "k", "value": "v"}),
            ("runs/delete-tag", {"key": "a"}),
            ("runs/log-batch", {"params": pairs(k="v")}),
            ("runs/log-batch", {}),
            (
                "runs/log-model",
                {
                    "model_json": '{"artifact_path": "m", "flavors": {}, "run_id": "r",'
                    ' "utc_time_created": "t"}'
                },
            ),
        ],
    )
    async def test_by_id(
        self, client: httpx.AsyncClient, route: str, fields: dict[str, Any]
    ) -> None:
        absent_run(await post(client, route, run_id=NO_RUN, **fields), NO_RUN)

    @pytest.mark.parametrize(
        ("route", "fields"),
        [
            ("runs/get", {}),
            ("artifacts/list", {}),
        ],
    )
    async def test_read(
        self, client: httpx.AsyncClient, route: str, fields: dict[str, str]
    ) -> None:
        absent_run(await get(client, route, run_id=NO_RUN, **fields), NO_RUN)
