"""Comparison of runs in the workbench API."""

from typing import Any

import httpx
import pytest

from tests.integration.workbench_api.support import ABSENT_RUN, RUNS, assert_problem, log, new_run

URL = f"{RUNS}/compare"


async def compare(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.fixture
async def runs(client: httpx.AsyncClient) -> tuple[str, str]:
    ids = []
    for name, loss, accuracy, rate in (("a", 0.3, 0.8, 0.1), ("b", 0.1, 0.9, 0.2)):
        made = await new_run(client, name=name, params={"rate": rate, "model": "xgb"})
        await log(client, made["id"], metrics={"val_loss": loss, "accuracy": accuracy})
        ids.append(made["id"])
    return ids[0], ids[1]


class TestCompareRuns:
    async def test_whole_answer(self, client: httpx.AsyncClient, runs: tuple[str, str]) -> None:
        a, b = runs
        answer = await compare(client, run_ids=[a, b], metrics=["val_loss"])
        assert answer == {
            "runs": [
                {
                    "run_id": a,
                    "name": "a",
                    "status": "running",
                    "params": {"rate": "0.1", "model": "xgb"},
                    "metrics": {"val_loss": 0.3, "accuracy": 0.8},
                },
                {
                    "run_id": b,
                    "name": "b",
                    "status": "running",
                    "params": {"rate": "0.2", "model": "xgb"},
                    "metrics": {"val_loss": 0.1, "accuracy": 0.9},
                },
            ],
            "comparison": {
                "best_run": b,
                "metric_comparison": {
                    "val_loss": {
                        "direction": "min",
                        "direction_inferred": True,
                        "best_run_id": b,
                        "best_value": 0.1,
                        "all_values": {a: 0.3, b: 0.1},
                    }
                },
                "params": {
                    "model": {"differs": False, "values": {a: "xgb", b: "xgb"}},
                    "rate": {"differs": True, "values": {a: "0.1", b: "0.2"}},
                },
            },
        }

    async def test_all_metrics(self, client: httpx.AsyncClient, runs: tuple[str, str]) -> None:
        compared = (await compare(client, run_ids=runs))["comparison"]
        directions = {name: one["direction"] for name, one in compared["metric_comparison"].items()}
        assert directions == {"accuracy": "max", "val_loss": "min"}
        assert compared["best_run"] == runs[1]

    async def test_given_direction(self, client: httpx.AsyncClient, runs: tuple[str, str]) -> None:
        metrics = [{"name": "val_loss", "direction": "max"}, {"name": "accuracy"}]
        compared = (await compare(client, run_ids=runs, metrics=metrics))["comparison"]
        loss = compared["metric_comparison"]["val_loss"]
        assert (loss["direction"], loss["direction_inferred"]) == ("max", False)
        assert loss["best_run_id"] == runs[0]
        assert compared["metric_comparison"]["accuracy"]["direction_inferred"] is True
        assert compared["best_run"] is None

    async def test_missing_and_not_finite(
        self, client: httpx.AsyncClient, runs: tuple[str, str]
    ) -> None:
        a, b = runs
        await log(client, a, metrics={"m": "NaN", "n": "Infinity"})
        await log(client, b, metrics={"m": 1})
        compared = await compare(client, run_ids=runs, metrics=["m", "n", "none"])
        by_name = compared["comparison"]["metric_comparison"]
        assert by_name["m"]["all_values"] == {a: "NaN", b: 1.0}
        assert by_name["m"]["best_run_id"] == b
        assert by_name["n"]["all_values"] == {a: "Infinity", b: None}
        assert by_name["n"]["best_value"] == "Infinity"
        assert by_name["none"]["all_values"] == {a: None, b: None}
        assert by_name["none"]["best_run_id"] is None
        assert by_name["none"]["best_value"] is None

    async def test_order_is_the_callers(
        self, client: httpx.AsyncClient, runs: tuple[str, str]
    ) -> None:
        a, b = runs
        answer = await compare(client, run_ids=[b, a])
        assert [one["run_id"] for one in answer["runs"]] == [b, a]

    async def test_ten(self, client: httpx.AsyncClient) -> None:
        ids = [(await new_run(client))["id"] for _ in range(10)]
        assert len((await compare(client, run_ids=ids))["runs"]) == 10

    async def test_deleted(self, client: httpx.AsyncClient, runs: tuple[str, str]) -> None:
        await client.delete(f"{RUNS}/{runs[0]}")
        assert len((await compare(client, run_ids=runs))["runs"]) == 2

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "run_ids"),
            ({"run_ids": []}, "run_ids"),
            ({"run_ids": ["a"]}, "run_ids"),
            ({"run_ids": ["a", "a"]}, "run_ids"),
            ({"run_ids": [str(n) for n in range(11)]}, "run_ids"),
            ({"run_ids": ["a", 5]}, "run_ids[1]"),
            ({"run_ids": ["a", "b"], "metrics": []}, "metrics"),
            ({"run_ids": ["a", "b"], "metrics": [5]}, "metrics[0]"),
            ({"run_ids": ["a", "b"], "metrics": [{}]}, "metrics[0].name"),
            (
                {"run_ids": ["a", "b"], "metrics": [{"name": "m", "direction": "up"}]},
                "metrics[0].direction",
            ),
            ({"run_ids": ["a", "b"], "metrics": [{"name": "m", "dir": "min"}]}, "metrics[0].dir"),
            ({"run_ids": ["a", "b"], "metric": ["m"]}, "metric"),
        ],
    )
    async def test_invalid(
        self, client: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        assert_problem(await client.post(URL, json=body), 422, field)

    @pytest.mark.parametrize(
        ("metrics", "field"),
        [
            (["m", "m"], "metrics[1].name"),
            (["m", {"name": "m", "direction": "min"}], "metrics[1].name"),
            (["a\x00"], "metrics[0].name"),
        ],
    )
    async def test_invalid_metrics(
        self, client: httpx.AsyncClient, runs: tuple[str, str], metrics: list[Any], field: str
    ) -> None:
        response = await client.post(URL, json={"run_ids": runs, "metrics": metrics})
        assert_problem(response, 422, field)

    @pytest.mark.parametrize("absent", [ABSENT_RUN, "abc", "\x00"])
    async def test_absent(
        self, client: httpx.AsyncClient, runs: tuple[str, str], absent: str
    ) -> None:
        response = await client.post(URL, json={"run_ids": [runs[0], absent]})
        problem = assert_problem(response, 404, "run_ids")
        assert absent in problem["detail"]
