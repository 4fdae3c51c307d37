"""Metric histories, whole, by page and sampled, with the rules of MLflow 3.17's server."""

from typing import Any

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import API, invalid
from tests.integration.mlflow_api.tracking_calls import (
    NO_RUN,
    done,
    get,
    history,
    log_steps,
    missing,
    new_run,
    ok,
    post,
)

STEPS = [float(step) for step in range(10)]


class TestGetHistory:
    ROUTE = "metrics/get-history"

    async def test_shape(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", [0.5, 1.5])
        assert ok(await get(client, self.ROUTE, run_uuid=run_id, metric_key="m")) == {
            "metrics": [
                {"key": "m", "value": 0.5, "timestamp": 1000, "step": 0},
                {"key": "m", "value": 1.5, "timestamp": 1001, "step": 1},
            ]
        }

    async def test_never_logged(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        assert ok(await get(client, self.ROUTE, run_id=run_id, metric_key="m")) == {}

    async def test_by_timestamp_then_step_then_value(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        points = [(2, 0, 0.0), (1, 5, 1.0), (1, 5, -1.0), (1, -5, 9.0), (1, 5, "NaN")]
        metrics = [
            {"key": "m", "timestamp": timestamp, "step": step, "value": value}
            for timestamp, step, value in points
        ]
        done(await post(client, "runs/log-batch", run_id=run_id, metrics=metrics))
        found = [
            (point["timestamp"], point["step"], point["value"])
            for point in await history(client, run_id, "m")
        ]
        assert found == [(1, -5, 9.0), (1, 5, -1.0), (1, 5, 1.0), (1, 5, "NaN"), (2, 0, 0.0)]

    async def test_paging(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", STEPS[:5])
        fields: dict[str, Any] = {"run_id": run_id, "metric_key": "m", "max_results": 2}
        pages = []
        while True:
            page = ok(await get(client, self.ROUTE, **fields))
            pages.append([point["step"] for point in page["metrics"]])
            # A point that is logged before the page meanwhile does not shift it.
            done(
                await post(
                    client, "runs/log-metric", run_id=run_id, key="m", value=len(pages), timestamp=1
                )
            )
            if "next_page_token" not in page:
                break
            fields["page_token"] = page["next_page_token"]
        assert pages == [[0, 1], [2, 3], [4]]

    async def test_paging_over_special_values(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        values = ["-Infinity", -0.5, "Infinity", "NaN"]
        metrics = [{"key": "m", "value": value, "timestamp": 1} for value in values]
        done(await post(client, "runs/log-batch", run_id=run_id, metrics=metrics))
        found: list[Any] = []
        token = ""
        while True:
            fields = {"run_id": run_id, "metric_key": "m", "page_token": token}
            page = ok(await get(client, self.ROUTE, **fields, max_results="1"))
            found += [point["value"] for point in page["metrics"]]
            if not (token := page.get("next_page_token", "")):
                break
        assert found == values

    @pytest.mark.parametrize("max_results", ["10", "11", "9" * 25])
    async def test_as_many_as_there_are(self, client: httpx.AsyncClient, max_results: str) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", STEPS)
        fields = {"run_id": run_id, "metric_key": "m", "max_results": max_results}
        page = ok(await get(client, self.ROUTE, **fields))
        assert len(page["metrics"]) == 10
        assert "next_page_token" not in page

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"max_results": "0"}, "'max_results' supplied. It must be a positive integer."),
            ({"max_results": "-1"}, "'max_results' supplied. It must be a positive integer."),
            ({"max_results": "x"}, "'max_results'"),
            ({"max_results": ""}, "'max_results'"),
            ({"page_token": "bogus"}, "page token"),
            ({"page_token": "é"}, "page token"),
            ({"metric_key": "\x00"}, "'metric_key'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, fields: dict[str, str], words: str
    ) -> None:
        run_id = await new_run(client)
        answer = await get(client, self.ROUTE, **{"run_id": run_id, "metric_key": "m"} | fields)
        invalid(answer, words)

    @pytest.mark.parametrize("field", ["run_id", "metric_key"])
    async def test_missing(self, client: httpx.AsyncClient, field: str) -> None:
        fields = {"run_id": await new_run(client), "metric_key": "m"}
        missing(await get(client, self.ROUTE, **fields | {field: ""}), field)
        del fields[field]
        missing(await get(client, self.ROUTE, **fields), field)

    async def test_unknown_run(self, client: httpx.AsyncClient) -> None:
        """As in MLflow, it has no points."""
        for run_id in (NO_RUN, "x"):
            assert ok(await get(client, self.ROUTE, run_id=run_id, metric_key="m")) == {}

    async def test_deleted_run(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", STEPS)
        done(await post(client, "runs/delete", run_id=run_id))
        assert len(await history(client, run_id, "m")) == 10


class TestGetHistoryBulk:
    ROUTE = "metrics/get-history-bulk"

    async def test_run_after_run(self, client: httpx.AsyncClient) -> None:
        runs = [await new_run(client) for _ in range(2)]
        for run_id in reversed(runs):
            await log_steps(client, run_id, "m", [0.5, 1.5])
            await log_steps(client, run_id, "other", [7.0])
        found = ok(await get(client, self.ROUTE, run_id=runs, metric_key="m"))
        assert found == {
            "metrics": [
                {"key": "m", "value": value, "timestamp": 1000 + step, "step": step, "run_id": one}
                for one in runs
                for step, value in enumerate([0.5, 1.5])
            ]
        }

    @pytest.mark.parametrize(("max_results", "found"), [("0", 0), ("3", 3), ("99999999", 10)])
    async def test_limit(self, client: httpx.AsyncClient, max_results: str, found: int) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", STEPS)
        fields = {"run_id": run_id, "metric_key": "m", "max_results": max_results}
        points = ok(await get(client, self.ROUTE, **fields))["metrics"]
        assert [point["step"] for point in points] == list(range(found))

    async def test_unknown_runs_have_no_points(self, client: httpx.AsyncClient) -> None:
        fields = {"run_id": [NO_RUN, "nope"], "metric_key": "m"}
        assert ok(await get(client, self.ROUTE, **fields)) == {"metrics": []}

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"metric_key": "m"}, "must specify at least one run_id."),
            ({"run_id": NO_RUN}, "must specify a metric_key."),
            (
                {"run_id": [NO_RUN] * 101, "metric_key": "m"},
                "cannot specify more than 100 run_ids. Received 101 run_ids.",
            ),
            ({"run_id": NO_RUN, "metric_key": "m", "max_results": "-1"}, "max_results"),
            ({"run_id": NO_RUN, "metric_key": "m", "max_results": "x"}, "'max_results'"),
            ({"run_id": NO_RUN, "metric_key": "\x00"}, "'metric_key'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, fields: dict[str, Any], words: str
    ) -> None:
        invalid(await get(client, self.ROUTE, **fields), words)


class TestGetHistoryBulkInterval:
    ROUTE = "metrics/get-history-bulk-interval"

    async def steps(self, client: httpx.AsyncClient, run_id: str, **fields: int) -> list[int]:
        answer = await get(client, self.ROUTE, run_ids=run_id, metric_key="m", **fields)
        return [point["step"] for point in ok(answer).get("metrics", [])]

    async def test_shape(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", [0.5])
        answer = await get(client, self.ROUTE, run_ids=run_id, metric_key="m")
        point = {"key": "m", "value": 0.5, "timestamp": 1000, "step": 0, "run_id": run_id}
        assert ok(answer) == {"metrics": [point]}

    @pytest.mark.parametrize(
        ("max_results", "steps"),
        [
            (1, [9]),
            (2, [0, 9]),
            (3, [0, 4, 9]),
            (4, [0, 3, 6, 9]),
            (9, [0, 2, 3, 4, 5, 6, 7, 8, 9]),
            (10, list(range(10))),
            (2500, list(range(10))),
        ],
    )
    async def test_evenly_spread_with_the_last(
        self, client: httpx.AsyncClient, max_results: int, steps: list[int]
    ) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", STEPS)
        assert await self.steps(client, run_id, max_results=max_results) == steps

    @pytest.mark.parametrize(
        ("first", "last", "steps"),
        [
            (2, 5, [2, 3, 4, 5]),
            (3, 3, [3]),
            (-5, 1, [0, 1]),
            (20, 30, []),
            (-(2**63), 2**63 - 1, list(range(10))),
        ],
    )
    async def test_between_steps(
        self, client: httpx.AsyncClient, first: int, last: int, steps: list[int]
    ) -> None:
        run_id = await new_run(client)
        await log_steps(client, run_id, "m", STEPS)
        assert await self.steps(client, run_id, start_step=first, end_step=last) == steps

    async def test_several_runs_in_the_order_asked_for(self, client: httpx.AsyncClient) -> None:
        runs = [await new_run(client) for _ in range(3)]
        for run_id in runs[:2]:
            await log_steps(client, run_id, "m", STEPS)
        fields = {"run_ids": [runs[1], NO_RUN, runs[2], runs[0]], "metric_key": "m"}
        answer = ok(await get(client, self.ROUTE, **fields, max_results=2))
        found = [(point["run_id"], point["step"]) for point in answer["metrics"]]
        assert found == [(runs[1], 0), (runs[1], 9), (runs[0], 0), (runs[0], 9)]

    @pytest.mark.parametrize("run_ids", [NO_RUN, "nope", ""])
    async def test_unknown_runs_have_no_points(
        self, client: httpx.AsyncClient, run_ids: str
    ) -> None:
        assert ok(await get(client, self.ROUTE, run_ids=run_ids, metric_key="m")) == {}

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"max_results": 0}, "max_results must be between 1 and 2500."),
            ({"max_results": 2501}, "max_results must be between 1 and 2500."),
            ({"max_results": "x"}, "'max_results'"),
            ({"start_step": 1}, "If either start step or end step are specified, both must be"),
            ({"end_step": 1}, "If either start step or end step are specified, both must be"),
            (
                {"start_step": 5, "end_step": 2},
                "end_step must be greater than start_step. Found start_step=5 and end_step=2.",
            ),
            ({"start_step": "x", "end_step": 2}, "Invalid value \"x\" for parameter 'start_step'"),
            ({"start_step": -(2**64), "end_step": 2}, "'start_step'"),
            (
                {"run_ids": [NO_RUN] * 101},
                "must specify at most 100 run_ids. Received 101 run_ids.",
            ),
            ({"metric_key": "\x00"}, "'metric_key'"),
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, fields: dict[str, Any], words: str
    ) -> None:
        invalid(
            await get(client, self.ROUTE, **{"run_ids": NO_RUN, "metric_key": "m"} | fields), words
        )

    @pytest.mark.parametrize("field", ["run_ids", "metric_key"])
    async def test_missing(self, client: httpx.AsyncClient, field: str) -> None:
        fields = {"run_ids": NO_RUN, "metric_key": "m"}
        del fields[field]
        missing(await get(client, self.ROUTE, **fields), field)


class TestAnotherTenants:
    async def test_forged_token_shows_only_ones_own(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient
    ) -> None:
        mine, theirs = await new_run(client), await new_run(other_client)
        await log_steps(client, mine, "m", STEPS)
        await log_steps(other_client, theirs, "m", [7.0], start=20)
        fields = {"metric_key": "m", "max_results": 1}
        token = ok(await get(client, "metrics/get-history", run_id=mine, **fields))[
            "next_page_token"
        ]
        answer = await other_client.get(
            f"{API}/metrics/get-history",
            params={"run_id": theirs, "page_token": token, **fields},
        )
        assert [point["value"] for point in ok(answer)["metrics"]] == [7.0]
