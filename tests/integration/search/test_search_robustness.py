"""Any input: a search is refused with an InvalidValueError, or it runs."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from app.experiments.search import search_experiments
from app.kernel.errors import InvalidValueError
from app.logged_models.search import DatasetFilter, ModelOrder, search_logged_models
from app.runs.search import search_runs
from app.search.page import Page
from tests.integration.search.search_seed import Seed, new_tenant

# What these ask takes a moment; done badly, it takes minutes.
SOON = pytest.mark.timeout(30)

FUZZ = settings(
    max_examples=400,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

ANYTHING = st.text(st.characters(), max_size=60)
PIECES = [
    *(
        "metrics",
        "params",
        "tags",
        "dataset",
        "attributes",
        "run_id",
        "name",
        "start_time",
        "status",
    ),
    *(
        "experiment_id",
        "model_id",
        "`a b`",
        '"q"',
        "'x'",
        "''",
        '"',
        "'",
        "`",
        ".",
        "..",
        "[a]",
        "a",
    ),
    *(
        "=",
        "!=",
        "<",
        ">=",
        "==",
        "LIKE",
        "ILIKE",
        "IN",
        "NOT",
        "IS",
        "NULL",
        "AND",
        "OR",
        "NaN",
        "(",
    ),
    *(
        ")",
        ",",
        ";",
        "--",
        "/*",
        "%",
        "_",
        "\\",
        "1",
        "-1",
        "1e999",
        "9" * 30,
        "-",
        "0x1",
        "é",
        "\n",
    ),
    *("ASC", "DESC", "'%\\'", "\0", "\ud800", "matih.tenant_id", "mlflow.runName"),
]
SALAD = st.lists(st.sampled_from(PIECES), max_size=9).flatmap(
    lambda pieces: st.sampled_from(["".join(pieces), " ".join(pieces)])
)
KEYS = st.sampled_from(
    [
        *(
            "metrics.a",
            "params.`a b`",
            "tags.a",
            "dataset.name",
            "start_time",
            "end_time",
            "run_id",
        ),
        *(
            "run_name",
            "artifact_uri",
            "name",
            "experiment_id",
            "creation_time",
            "model_id",
            "status",
        ),
    ]
)
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    ANYTHING.map(lambda text: f"'{text}'"),
    st.lists(ANYTHING.map(lambda text: f'"{text}"'), max_size=3).map(lambda v: f"({','.join(v)})"),
)
COMPARATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN"])
WELL_FORMED = st.lists(st.tuples(KEYS, COMPARATORS, VALUES).map(" ".join), max_size=4).map(
    " AND ".join
)
FILTERS = st.one_of(ANYTHING, SALAD, WELL_FORMED)
ORDERS = st.lists(st.one_of(ANYTHING, SALAD, KEYS, KEYS.map("{} DESC".format)), max_size=3)


@pytest.fixture(scope="module")
def filled(connection: Connection) -> Seed:
    seed = Seed(connection, new_tenant(connection))
    seed.experiment(1, "e", tags={"a": "x"})
    run_id = seed.run("r", metrics={"a": 1}, params={"a b": "x"}, datasets=[("d", "1", "c")])
    seed.model("m-1", metrics=[{"run_id": run_id, "key": "a", "value": 1.0}])
    return seed


def runs_or_is_refused(seed: Seed, search: Callable[[], Page], fields: set[str]) -> None:
    refused = None
    try:
        page = search()
    except InvalidValueError as error:
        refused = error
    if refused:
        assert refused.field in fields
    else:
        assert seed.count(page) == len(seed.rows(page))


@FUZZ
@given(FILTERS, ORDERS, st.none() | ANYTHING)
def test_runs(filled: Seed, filter: str, order_by: list[str], token: str | None) -> None:
    def search() -> Page:
        return search_runs(
            filled.tenant, [1], filter=filter, order_by=order_by, page_token=token, limit=5
        )

    runs_or_is_refused(filled, search, {"filter", "order_by", "page_token"})


@FUZZ
@given(FILTERS, ORDERS, ANYTHING)
def test_experiments(filled: Seed, filter: str, order_by: list[str], name: str) -> None:
    def search() -> Page:
        return search_experiments(
            filled.tenant, filter=filter, order_by=order_by, name_contains=name, limit=5
        )

    runs_or_is_refused(filled, search, {"filter", "order_by", "name_contains"})


@FUZZ
@given(FILTERS, ANYTHING | st.just("metrics.a"), ANYTHING)
def test_logged_models(filled: Seed, filter: str, field: str, dataset: str) -> None:
    def search() -> Page:
        return search_logged_models(
            filled.tenant,
            [1],
            filter=filter,
            order_by=[ModelOrder(field, dataset_name=dataset)],
            datasets=[DatasetFilter(dataset)],
            limit=5,
        )

    runs_or_is_refused(filled, search, {"filter", "order_by", "datasets"})


@pytest.mark.parametrize(
    "filter",
    [
        "a = '" + "\\'" * 90_000,
        "a = '" + "''" * 90_000,
        "a = '" + "x" * 150_000 + "'",
        "`" * 190_001,
        "`" * 190_000 + ".a-b = 1",
        '"' * 190_000 + ".a-b = 1",
        '"\\"' * 60_000 + '".a-b = 1',
        '""".' * 40_000 + "a-b = 1",
        "a." * 95_000,
        "a" + "-a" * 95_000,
        "(" * 190_000,
        "a IN " + "(" * 190_000,
        "run_id IN (" + "''," * 60_000 + "'')",
        " AND" * 45_000,
        "a = 1 AND " * 19_000,
        "a" + "=" * 190_000,
        "1" * 190_000,
        " " * 190_000 + "a",
    ],
    ids=range(18),
)
@SOON
def test_a_long_filter_is_answered_soon(filled: Seed, filter: str) -> None:
    with pytest.raises(InvalidValueError):
        search_runs(filled.tenant, [1], filter=filter, limit=1)


@SOON
def test_the_most_that_can_be_asked_is_planned_in_bounds(filled: Seed) -> None:
    """As joins, planning these would take more memory than a server has."""
    filter = " AND ".join(f"metrics.k{n} > 0 AND dataset.name = 'x{n}'" for n in range(50))
    order = [f"tags.t{n} DESC" for n in range(10)]
    page = search_runs(filled.tenant, [1], filter=filter, order_by=order, limit=1)
    assert filled.rows(page) == []


@pytest.mark.parametrize("order_by", [[], ["metrics.m DESC"]])
@pytest.mark.parametrize("condition", ["params.p{} = 'x'", "metrics.k{} > 0"])
@SOON
def test_the_most_that_can_be_scanned_is_planned_in_bounds(
    filled: Seed, condition: str, order_by: list[str]
) -> None:
    filter = " AND ".join(condition.format(n) for n in range(100))
    page = search_runs(filled.tenant, [1], filter=filter, order_by=order_by, limit=1)
    assert page.generic_plan
    assert filled.rows(page) == []


def test_too_many_orders(filled: Seed) -> None:
    with pytest.raises(InvalidValueError, match="more than 10 terms"):
        search_runs(filled.tenant, [1], order_by=[f"tags.t{n}" for n in range(11)], limit=1)
