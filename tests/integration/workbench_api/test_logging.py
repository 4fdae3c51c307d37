"""Logging of metrics, params and tags in the workbench API."""

import time
from typing import Any

import httpx
import pytest

from tests.integration.workbench_api.support import (
    ABSENT_RUN,
    RUNS,
    assert_problem,
    log,
)

JSON = {"Content-Type": "application/json"}


async def history(client: httpx.AsyncClient, run_id: str, key: str) -> list[tuple[int, str, Any]]:
    response = await client.get(f"{RUNS}/{run_id}/metrics/{key}")
    assert response.status_code == 200, response.text
    return [(p["step"], p["timestamp"], p["value"]) for p in response.json()["points"]]


class TestLogMetrics:
    async def test_step_and_timestamp(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(
            f"{RUNS}/{run['id']}/log-metrics",
            json={"metrics": {"loss": 0.5, "acc": 1}, "step": -3, "timestamp": 1_700_000_000_001},
        )
        assert response.status_code == 200
        assert response.json() == {"message": "Logged 2 metrics", "run_id": run["id"]}
        assert await history(client, run["id"], "loss") == [(-3, "2023-11-14T22:13:20.001Z", 0.5)]
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["metrics"] == {"acc": 1.0, "loss": 0.5}

    async def test_now_at_step_0(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        before = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        await client.post(f"{RUNS}/{run['id']}/log-metrics", json={"metrics": {"loss": 0.5}})
        ((step, timestamp, _),) = await history(client, run["id"], "loss")
        assert step == 0
        assert timestamp >= before

    async def test_latest_is_of_the_highest_step(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        for step, value in ((2, 0.2), (9, 0.9), (5, 0.5)):
            await client.post(
                f"{RUNS}/{run['id']}/log-metrics", json={"metrics": {"m": value}, "step": step}
            )
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["metrics"] == {"m": 0.9}

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
    async def test_not_finite(
        self, client: httpx.AsyncClient, run: dict[str, Any], value: str
    ) -> None:
        await client.post(f"{RUNS}/{run['id']}/log-metrics", json={"metrics": {"m": value}})
        assert (await client.get(f"{RUNS}/{run['id']}")).json()["metrics"] == {"m": value}
        ((_, _, logged),) = await history(client, run["id"], "m")
        assert logged == value

    async def test_bare_nan_of_a_python_client(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        await client.post(
            f"{RUNS}/{run['id']}/log-metrics", content=b'{"metrics": {"m": NaN}}', headers=JSON
        )
        response = await client.get(f"{RUNS}/{run['id']}")
        assert '"m":"NaN"' in response.text

    async def test_extremes(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        values = {"max": 1.7976931348623157e308, "least": 5e-324, "int": 2**60}
        response = await client.post(
            f"{RUNS}/{run['id']}/log-metrics",
            json={"metrics": values, "step": 2**63 - 1, "timestamp": 253_402_300_799_999},
        )
        assert response.status_code == 200, response.text
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["metrics"] == values

    async def test_names(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        names = ["val/loss", "a b", "größe", "a.b-c:d", "k" * 250]
        await client.post(
            f"{RUNS}/{run['id']}/log-metrics", json={"metrics": dict.fromkeys(names, 1)}
        )
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert sorted(shown["metrics"]) == sorted(names)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "metrics"),
            ({"metrics": {}}, "metrics"),
            ({"metrics": [1]}, "metrics"),
            ({"metrics": {"m": True}}, "metrics.m"),
            ({"metrics": {"m": None}}, "metrics.m"),
            ({"metrics": {"m": "0.5"}}, "metrics.m"),
            ({"metrics": {"m": "nan"}}, "metrics.m"),
            ({"metrics": {"m": [1]}}, "metrics.m"),
            ({"metrics": {"m": 10**400}}, "metrics.m"),
            ({"metrics": {"": 1}}, "metrics."),
            ({"metrics": {"a\x00": 1}}, "metrics.a\x00"),
            ({"metrics": {"../m": 1}}, "metrics.../m"),
            ({"metrics": {"k" * 251: 1}}, "metrics." + "k" * 251),
            ({"metrics": {str(n): n for n in range(1001)}}, "metrics"),
            ({"metrics": {"m": 1}, "step": 1.5}, "step"),
            ({"metrics": {"m": 1}, "step": "1"}, "step"),
            ({"metrics": {"m": 1}, "step": True}, "step"),
            ({"metrics": {"m": 1}, "step": 2**63}, "step"),
            ({"metrics": {"m": 1}, "timestamp": -1}, "timestamp"),
            ({"metrics": {"m": 1}, "timestamp": 10**18}, "timestamp"),
            ({"metrics": {"m": 1}, "timestamp": "2025-01-01"}, "timestamp"),
            ({"metrics": {"m": 1}, "stp": 1}, "stp"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: dict[str, Any], field: str
    ) -> None:
        response = await client.post(f"{RUNS}/{run['id']}/log-metrics", json=body)
        assert_problem(response, 422, field)
        assert (await client.get(f"{RUNS}/{run['id']}")).json() == run

    async def test_deleted_run(
        self, client: httpx.AsyncClient, deleted_run: dict[str, Any]
    ) -> None:
        response = await client.post(
            f"{RUNS}/{deleted_run['id']}/log-metrics", json={"metrics": {"m": 1}}
        )
        assert_problem(response, 409, "run_id")

    async def test_unknown_tenant(self, client: httpx.AsyncClient) -> None:
        response = await client.post(
            f"http://test/t/nobody-yet{RUNS}/{ABSENT_RUN}/log-metrics", json={"metrics": {"m": 1}}
        )
        assert_problem(response, 404, "run_id")


class TestLogParams:
    async def test_once(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        url = f"{RUNS}/{run['id']}/log-params"
        params = {"rate": 0.1, "layers": 3, "name": "größe", "on": False, "empty": ""}
        for _ in range(2):
            response = await client.post(url, json={"params": params})
            assert response.status_code == 200, response.text
            assert response.json() == {"message": "Logged 5 params", "run_id": run["id"]}
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["params"] == {
            "rate": "0.1",
            "layers": "3",
            "name": "größe",
            "on": "false",
            "empty": "",
        }

    async def test_another_value(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        url = f"{RUNS}/{run['id']}/log-params"
        await client.post(url, json={"params": {"rate": 0.1}})
        response = await client.post(url, json={"params": {"rate": 0.2, "new": 1}})
        assert_problem(response, 409, "params.rate")
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["params"] == {"rate": "0.1"}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "params"),
            ({"params": {}}, "params"),
            ({"params": {"p": None}}, "params.p"),
            ({"params": {"p": {"nested": 1}}}, "params.p"),
            ({"params": {"p": "\x00"}}, "params.p"),
            ({"params": {"/p": "v"}}, "params./p"),
            ({"params": {str(n): n for n in range(101)}}, "params"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: dict[str, Any], field: str
    ) -> None:
        response = await client.post(f"{RUNS}/{run['id']}/log-params", json=body)
        assert_problem(response, 422, field)

    async def test_deleted_run(
        self, client: httpx.AsyncClient, deleted_run: dict[str, Any]
    ) -> None:
        response = await client.post(
            f"{RUNS}/{deleted_run['id']}/log-params", json={"params": {"p": 1}}
        )
        assert_problem(response, 409, "run_id")


class TestLogBatch:
    async def test_points(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(
            f"{RUNS}/{run['id']}/log-batch",
            json={
                "metrics": [
                    {"key": "m", "value": 0.3, "step": 1, "timestamp": 1_700_000_000_000},
                    {"key": "m", "value": "NaN", "step": 2, "timestamp": 1_700_000_000_500},
                    {"key": "n", "value": 1},
                ],
                "params": {"p": 1},
                "tags": {"t": "v"},
            },
        )
        assert response.status_code == 200
        assert response.json() == {
            "message": "Logged 3 metrics, 1 params, 1 tags",
            "run_id": run["id"],
        }
        assert await history(client, run["id"], "m") == [
            (1, "2023-11-14T22:13:20.000Z", 0.3),
            (2, "2023-11-14T22:13:20.500Z", "NaN"),
        ]
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["metrics"] == {"m": "NaN", "n": 1.0}
        assert shown["params"] == {"p": "1"}
        assert shown["tags"]["t"] == "v"

    async def test_mapping(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await log(client, run["id"], metrics={"a": 1, "b": "Infinity"})
        shown = (await client.get(f"{RUNS}/{run['id']}")).json()
        assert shown["metrics"] == {"a": 1.0, "b": "Infinity"}

    async def test_nothing(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await log(client, run["id"])
        assert (await client.get(f"{RUNS}/{run['id']}")).json() == run

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"metrics": [{"key": "m"}]}, "metrics[0].value"),
            ({"metrics": [{"key": "m", "value": True}]}, "metrics[0].value"),
            ({"metrics": [{"key": "m", "value": 1, "step": "1"}]}, "metrics[0].step"),
            ({"metrics": [{"key": "m", "value": 1, "time": 1}]}, "metrics[0].time"),
            ({"metrics": [{"key": "a/../b", "value": 1}]}, "metrics[0].key"),
            ({"metrics": {"m": None}}, "metrics.m"),
            ({"metrics": 5}, "metrics"),
            ({"metrics": None}, "metrics"),
            ({"params": {"p": [1]}}, "params.p"),
            ({"tags": {"t": 1}}, "tags.t"),
            ({"tags": {"t": None}}, "tags.t"),
            ({"tags": {"mlflow.note.content": "x"}}, "tags.mlflow.note.content"),
            ({"tags": {str(n): "v" for n in range(101)}}, "tags"),
            ({"metrics": [{"key": "m", "value": n} for n in range(1001)]}, "metrics"),
            ({"metric": {"m": 1}}, "metric"),
        ],
    )
    async def test_invalid_writes_nothing(
        self, client: httpx.AsyncClient, run: dict[str, Any], body: dict[str, Any], field: str
    ) -> None:
        good = {"metrics": {"good": 1}, "params": {"good": 1}, "tags": {"good": "1"}}
        response = await client.post(f"{RUNS}/{run['id']}/log-batch", json=good | body)
        assert_problem(response, 422, field)
        assert (await client.get(f"{RUNS}/{run['id']}")).json() == run

    async def test_param_conflict_writes_nothing(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        await log(client, run["id"], params={"p": 1})
        before = (await client.get(f"{RUNS}/{run['id']}")).json()
        response = await client.post(
            f"{RUNS}/{run['id']}/log-batch",
            json={"metrics": {"m": 1}, "params": {"p": 2, "q": 1}, "tags": {"t": "v"}},
        )
        assert_problem(response, 409, "params.p")
        assert (await client.get(f"{RUNS}/{run['id']}")).json() == before

    async def test_too_large(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.post(
            f"{RUNS}/{run['id']}/log-batch", content=b" " * 1_000_001, headers=JSON
        )
        assert_problem(response, 413)

    async def test_deleted_run(
        self, client: httpx.AsyncClient, deleted_run: dict[str, Any]
    ) -> None:
        response = await client.post(
            f"{RUNS}/{deleted_run['id']}/log-batch", json={"metrics": {"m": 1}}
        )
        assert_problem(response, 409, "run_id")


class TestGetMetricHistory:
    async def test_in_order_of_steps(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        points = [{"key": "m", "value": n, "step": n, "timestamp": 1000 + n} for n in (3, 1, 2)]
        await log(client, run["id"], metrics=points)
        response = await client.get(f"{RUNS}/{run['id']}/metrics/m")
        assert response.json() == {
            "run_id": run["id"],
            "key": "m",
            "total": 3,
            "sampled": False,
            "points": [
                {"step": n, "timestamp": f"1970-01-01T00:00:01.00{n}Z", "value": float(n)}
                for n in (1, 2, 3)
            ],
        }

    async def test_between_steps(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        points = [{"key": "m", "value": n, "step": n, "timestamp": 1} for n in range(10)]
        await log(client, run["id"], metrics=points)
        response = await client.get(
            f"{RUNS}/{run['id']}/metrics/m", params={"step_min": 3, "step_max": 5}
        )
        assert [point["step"] for point in response.json()["points"]] == [3, 4, 5]
        assert response.json()["total"] == 3

    async def test_sample_keeps_the_extremes(
        self, client: httpx.AsyncClient, run: dict[str, Any]
    ) -> None:
        values = [0.5] * 1000
        values[137], values[733] = 99.0, -99.0
        points = [
            {"key": "m", "value": value, "step": step, "timestamp": 1}
            for step, value in enumerate(values)
        ]
        await log(client, run["id"], metrics=points)
        response = await client.get(f"{RUNS}/{run['id']}/metrics/m", params={"max_points": 20})
        sampled = response.json()
        assert sampled["total"] == 1000
        assert sampled["sampled"] is True
        assert len(sampled["points"]) <= 20
        assert {99.0, -99.0} <= {point["value"] for point in sampled["points"]}
        steps = [point["step"] for point in sampled["points"]]
        assert steps == sorted(steps)

    @pytest.mark.parametrize("key", ["val/loss", "a b", "größe", "a.b", "100%25"])
    async def test_keys(self, client: httpx.AsyncClient, run: dict[str, Any], key: str) -> None:
        if key != "100%25":
            await log(client, run["id"], metrics={key: 1})
        response = await client.get(f"{RUNS}/{run['id']}/metrics/{key}")
        assert response.status_code == 200
        assert response.json()["total"] == (0 if key == "100%25" else 1)

    async def test_never_logged(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        response = await client.get(f"{RUNS}/{run['id']}/metrics/nothing")
        assert response.status_code == 200
        assert response.json()["points"] == []
        assert response.json()["total"] == 0

    async def test_of_a_deleted_run(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        await log(client, run["id"], metrics={"m": 1})
        await client.delete(f"{RUNS}/{run['id']}")
        assert (await client.get(f"{RUNS}/{run['id']}/metrics/m")).json()["total"] == 1

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"max_points": 1}, "max_points"),
            ({"max_points": 100_001}, "max_points"),
            ({"max_points": "many"}, "max_points"),
            ({"step_min": 2**63}, "step_min"),
            ({"step_max": "x"}, "step_max"),
            ({"step_min": 2, "step_max": 1}, "step_min"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, run: dict[str, Any], params: dict[str, Any], field: str
    ) -> None:
        response = await client.get(f"{RUNS}/{run['id']}/metrics/m", params=params)
        assert_problem(response, 422, field)

    async def test_nul_in_the_key(self, client: httpx.AsyncClient, run: dict[str, Any]) -> None:
        assert_problem(await client.get(f"{RUNS}/{run['id']}/metrics/a%00"), 422, "key")
