"""An index scan finds the runs that the plain statement finds, in the same order."""

import math
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text

from app.db import migrate
from app.db.url import sqlalchemy_url
from app.runs import index_scan
from app.runs.index_scan import RunIndexScan
from app.runs.search import search_runs
from tests.integration.search.search_seed import Seed, new_tenant
from tests.support import postgres_servers
from tests.support.postgres_servers import PostgresServer

EXAMPLES = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

VALUES = [math.nan, math.nan, math.inf, -math.inf, 0.1, 0.1, -0.0, 0.0, 1e300, -1.0]
LONG = "x" * 300  # too long for the indexes on values

CONDITIONS = [
    "metrics.m < 1",
    "metrics.m >= 0",
    "metrics.m != 0.1",
    "metrics.n > 0",
    "metrics.none = 1",
    "params.p = 'a'",
    f"params.p = '{LONG}'",
    "params.p != 'a'",
    "params.p = 'a' AND params.p = 'b'",
    "params.p = 'a' AND params.p != 'b'",
    "params.p IS NULL",
    "tags.t = 'x'",
    "tags.t LIKE 'x%'",
    "tags.t ILIKE 'X' AND tags.t = 'x'",
    "status = 'FAILED'",
    "run_name != 'a'",
]
ORDERS = [
    [],
    ["start_time DESC"],
    ["metrics.m"],
    ["metrics.m DESC"],
    ["metrics.n DESC"],
    ["metrics.none"],
    ["metrics.m", "run_name"],
]
SEARCHES = st.fixed_dictionaries(
    {
        "experiment_ids": st.sampled_from([[1], [2], [1, 2], [1, 2, 3], [], None]),
        "filter": st.lists(st.sampled_from(CONDITIONS), max_size=3).map(" AND ".join),
        "order_by": st.sampled_from(ORDERS),
        "view": st.sampled_from(["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]),
        "statuses": st.sampled_from([[], ["FAILED"]]),
    }
)


@pytest.fixture(scope="module")
def filled(connection: Connection) -> Seed:
    seed = Seed(connection, new_tenant(connection))
    for number in (1, 2, 3):
        seed.experiment(number, f"e{number}")
    chance = random.Random(11)
    for number in range(60):
        metrics = {key: chance.choice(VALUES) for key in "mn" if chance.random() < 0.6}
        params = {"p": chance.choice(["a", "a", "b", LONG])} if chance.random() < 0.7 else None
        seed.run(
            chance.choice("ab"),
            run_id=UUID(int=number + 1),
            experiment_id=chance.choice([1, 1, 2]),
            start_time=chance.choice([1, 2, 3]),
            status=chance.choice(["FINISHED", "FAILED"]),
            deleted=chance.random() < 0.2,
            metrics=metrics,
            params=params,
            tags={"t": chance.choice(["x", "xy"])} if chance.random() < 0.7 else None,
        )
    return seed


def found(seed: Seed, limit: int, **search: Any) -> list[UUID]:
    """The runs of all pages."""
    ids: list[UUID] = []
    token = None
    while True:
        page = search_runs(seed.tenant, limit=limit, page_token=token, **search)
        more, token = page.split(seed.rows(page))
        ids += more
        if token is None:
            return ids


@EXAMPLES
@given(SEARCHES, st.sampled_from([0, 3, 1_000]), st.sampled_from([1, 4, 60]), st.integers(0, 9))
def test_finds_what_the_plain_statement_finds(
    filled: Seed, search: dict[str, Any], max_collected: int, limit: int, offset: int
) -> None:
    """With max_collected = 0 all is scanned, with 1,000 all is collected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunIndexScan, "is_cheaper", False)
        page = search_runs(filled.tenant, limit=1_000, **search)
        assert not page.generic_plan
        expected = filled.ids(page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_scan, "MAX_COLLECTED", max_collected)
        assert found(filled, limit, **search) == expected
        page = search_runs(filled.tenant, limit=limit, offset=offset, **search)
        assert filled.ids(page) == expected[offset : offset + limit]


@pytest.mark.parametrize("order_by", [[], ["metrics.m"], ["metrics.m DESC"]])
@pytest.mark.parametrize("filter", ["", "params.p = 'a' AND tags.t = 'x' AND metrics.n > 0"])
def test_every_table_is_bound_to_the_tenant(
    filled: Seed, filter: str, order_by: Sequence[str]
) -> None:
    page = search_runs(filled.tenant, [1, 2], filter=filter, order_by=order_by, limit=1)
    assert page.generic_plan
    statement = str(page.statement.compile())
    names = "runs|params|run_tags|metric_series"
    tables = re.findall(rf"(?:FROM|JOIN|,) (?:{names})(?![.\w])", statement)
    assert tables
    assert statement.count("tenant_id = :tenant_id") == len(tables)


RUNS = 3_000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A Postgres without the rows of other tests, which would change what a plan costs: among
    200,000 series of another metric, counting the candidates takes a thousand lookups
    (`index_scan.MAX_COLLECTED`) and 4,000 blocks, and a hundred blocks without them."""
    folder = tmp_path_factory.mktemp("alone")
    with postgres_servers.chosen(folder) as server:
        migrate.upgrade(server.owner_url)
        yield server


@pytest.fixture(scope="module")
def many(alone: PostgresServer) -> Iterator[Seed]:
    engine = create_engine(sqlalchemy_url(alone.app_url))
    with engine.connect() as connection:
        yield seeded(connection, alone.owner_url)
    engine.dispose()


def seeded(connection: Connection, owner_url: str) -> Seed:
    seed = Seed(connection, new_tenant(connection))
    seed.experiment(1, "e")
    seed.experiment(2, "f")
    for statement in (
        "INSERT INTO runs (tenant_id, run_id, experiment_id, name, user_id, status, start_time)"
        " SELECT :t, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 1 + n % 2,"
        " '', '', 'FINISHED', n FROM generate_series(1, :n) n",
        "INSERT INTO params (tenant_id, run_id, key, value)"
        " SELECT :t, run_id, 'p', (start_time % 10)::text FROM runs WHERE tenant_id = :t",
        "INSERT INTO run_tags (tenant_id, run_id, key, value)"
        " SELECT :t, run_id, 'rare', (start_time / 5)::text FROM runs WHERE tenant_id = :t",
        "INSERT INTO metric_series (tenant_id, series_id, run_id, key, last_step,"
        " last_timestamp, last_value, settled_value, max_timestamp, point_count)"
        " SELECT :t, start_time, run_id, 'm', 0, 0, x, x, 0, 1"
        " FROM (SELECT *, abs(hashint8(start_time)) AS x FROM runs WHERE tenant_id = :t) r",
    ):
        with connection.begin():
            connection.execute(text(statement), {"t": seed.tenant.id, "n": RUNS})
    # As autovacuum does sooner or later: without statistics all indexes look alike.
    with psycopg.connect(owner_url) as owner:
        owner.execute("ANALYZE runs, params, run_tags, metric_series")
    return seed


class TestCost:
    """How many blocks a page reads; each table has some hundreds."""

    @pytest.mark.parametrize(
        ("search", "blocks"),
        [
            ({}, 60),
            ({"order_by": ["metrics.m"]}, 400),
            ({"order_by": ["metrics.m DESC"]}, 400),
            ({"filter": "metrics.m > 0", "order_by": ["metrics.m"]}, 400),
            ({"filter": "tags.rare = '7'"}, 200),
            ({"filter": "tags.rare = '7'", "order_by": ["metrics.m"]}, 200),
            ({"filter": "metrics.m < 0"}, 200),
        ],
    )
    def test_is_that_of_a_page(self, many: Seed, search: dict[str, Any], blocks: int) -> None:
        page = search_runs(many.tenant, [1, 2], limit=20, **search)
        assert page.generic_plan
        assert self.blocks_of(many, page.statement) < blocks

    def test_where_what_matches_is_not_rare(
        self, many: Seed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index_scan, "MAX_COLLECTED", 100)
        search = {"filter": "params.p = '3'", "order_by": ["metrics.m"]}
        page = search_runs(many.tenant, [1, 2], limit=20, **search)
        assert len(many.rows(page)) == 21
        assert self.blocks_of(many, page.statement) < 2_000

    def blocks_of(self, seed: Seed, statement: Any) -> int:
        compiled = statement.compile(seed.connection)
        with seed.connection.begin():
            seed.connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
            plan = seed.connection.exec_driver_sql(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + compiled.string, compiled.params
            ).scalar_one()
        top = plan[0]["Plan"]
        return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])
