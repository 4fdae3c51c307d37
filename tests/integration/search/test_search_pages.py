"""Pages: every row once, in the order of one big page, whatever comes in between."""

import math
import random
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.experiments.search import search_experiments
from app.kernel.errors import InvalidValueError
from app.logged_models.search import ModelOrder, search_logged_models
from app.runs.search import search_runs
from app.search.page import Page
from tests.integration.search.search_seed import Seed

Search = Callable[..., Page]


def walk(seed: Seed, search: Search, limit: int, **arguments: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(seed.tenant, limit=limit, page_token=token, **arguments)
        ids, token = page.split(seed.rows(page))
        found += ids
        if token is None:
            return found
        assert len(ids) == limit


@pytest.fixture
def runs(seed: Seed) -> list[UUID]:
    seed.experiment(1, "e")
    seed.experiment(2, "f")
    chance = random.Random(3)
    values = [math.nan, math.inf, -math.inf, 0.1, 0.1, -0.0, 0.0, 1e300, 5e-324]
    return [
        seed.run(
            chance.choice(["a", "Ä", "z"]),
            experiment_id=chance.choice([1, 2]),
            start_time=chance.choice([1, 2]),
            end_time=chance.choice([None, 0, -(2**63), 2**63 - 1]),
            metrics={"m": chance.choice(values)} if chance.random() < 0.7 else None,
            params={"p": chance.choice(["", "a", "B"])} if chance.random() < 0.5 else None,
        )
        for _ in range(40)
    ]


class TestWalk:
    @pytest.mark.parametrize("limit", [1, 3, 39, 40])
    @pytest.mark.parametrize(
        "order_by",
        [
            [],
            ["metrics.m"],
            ["metrics.m DESC", "run_name DESC"],
            ["end_time DESC", "metrics.m"],
            ["params.p DESC", "end_time", "run_id DESC"],
            ["artifact_uri DESC"],
            ["start_time", "status", "user_id", "tags.none", "metrics.none DESC", "params.p"],
        ],
    )
    def test_runs(self, seed: Seed, runs: list[UUID], order_by: list[str], limit: int) -> None:
        arguments = {"experiment_ids": [1, 2], "order_by": order_by}
        whole = seed.ids(search_runs(seed.tenant, limit=100, **arguments))
        assert sorted(whole) == sorted(runs)
        assert walk(seed, search_runs, limit, **arguments) == whole

    @pytest.mark.parametrize("order_by", [[], ["name"], ["name DESC", "last_update_time"]])
    def test_experiments(self, seed: Seed, order_by: list[str]) -> None:
        for n in range(10):
            seed.experiment(n, f"e{n % 3}-{n}", creation_time=n % 2)
        whole = seed.ids(search_experiments(seed.tenant, order_by=order_by, limit=100))
        assert walk(seed, search_experiments, 3, order_by=order_by) == whole

    @pytest.mark.parametrize(
        "order_by", [[], [ModelOrder("metrics.m", False)], [ModelOrder("model_type")]]
    )
    def test_logged_models(self, seed: Seed, runs: list[UUID], order_by: list[ModelOrder]) -> None:
        for n in range(10):
            metric = {"run_id": runs[n], "key": "m", "value": [0.5, math.nan][n % 2]}
            kind = ["a", None][n // 5]
            seed.model(f"m-{n}", model_type=kind, metrics=[metric] * (n % 3 > 0))
        arguments = {"experiment_ids": [1], "order_by": order_by}
        whole = seed.ids(search_logged_models(seed.tenant, limit=100, **arguments))
        assert len(whole) == 10
        assert walk(seed, search_logged_models, 3, **arguments) == whole

    def test_offset(self, seed: Seed, runs: list[UUID]) -> None:
        whole = seed.ids(search_runs(seed.tenant, [1, 2], limit=100))
        assert seed.ids(search_runs(seed.tenant, [1, 2], limit=5, offset=7)) == whole[7:12]

    def test_new_runs_do_not_shift_the_next_page(self, seed: Seed, runs: list[UUID]) -> None:
        whole = seed.ids(search_runs(seed.tenant, [1, 2], limit=100))
        first = search_runs(seed.tenant, [1, 2], limit=5)
        ids, token = first.split(seed.rows(first))
        for _ in range(3):
            seed.run("newer", start_time=99)
        second = search_runs(seed.tenant, [1, 2], limit=100, page_token=token)
        assert ids + seed.ids(second) == whole

    def test_a_full_last_page_has_no_token(self, seed: Seed, runs: list[UUID]) -> None:
        page = search_runs(seed.tenant, [1, 2], limit=40)
        assert page.split(seed.rows(page))[1] is None


class TestToken:
    @pytest.fixture
    def token(self, seed: Seed, runs: list[UUID]) -> str:
        page = search_runs(seed.tenant, [1, 2], filter="run_name != 'x'", limit=1)
        token = page.split(seed.rows(page))[1]
        assert token
        return token

    @pytest.mark.parametrize(
        "change",
        [
            {"filter": ""},
            {"order_by": ["run_id"]},
            {"view": "ALL"},
            {"statuses": ["FAILED"]},
            {"experiment_ids": [1]},
        ],
    )
    def test_of_another_search(self, seed: Seed, token: str, change: dict[str, Any]) -> None:
        same: dict[str, Any] = {"experiment_ids": [2, 1], "filter": "run_name != 'x'"}
        search_runs(seed.tenant, limit=7, page_token=token, **same)
        with pytest.raises(InvalidValueError, match="Invalid page token") as caught:
            search_runs(seed.tenant, limit=7, page_token=token, **{**same, **change})
        assert caught.value.field == "page_token"

    @pytest.mark.parametrize(
        "token", ["x", "====", "ä", "a" * 5000, "\ud800", "eyJvZmZzZXQiOiAxfQ=="]
    )
    def test_malformed(self, seed: Seed, token: str) -> None:
        with pytest.raises(InvalidValueError, match="Invalid page token"):
            search_runs(seed.tenant, [1], limit=1, page_token=token)

    @pytest.mark.parametrize(
        "keys",
        [
            [],
            [1],
            ["1", str(UUID(int=1))],
            [2**63, str(UUID(int=1))],
            [1, "not a uuid"],
            [None, None],
            [True, str(UUID(int=1))],
            [1, str(UUID(int=1)), 1],
            [[1], str(UUID(int=1))],
            msgspec.Raw(b"\x91" * 10_000),  # arrays in arrays, deeper than Python recurses
        ],
    )
    def test_forged(self, seed: Seed, keys: Any) -> None:
        fingerprint = search_runs(seed.tenant, [1], limit=1).fingerprint
        raw = msgspec.msgpack.encode([fingerprint, keys])
        token = urlsafe_b64encode(raw).decode()
        with pytest.raises(InvalidValueError, match="Invalid page token"):
            search_runs(seed.tenant, [1], limit=1, page_token=token)
