"""The artifact URIs that searches derive in SQL are those that are shown, which Python derives."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from app.kernel import validation
from app.kernel.artifact_uris import run_artifact_uri
from app.kernel.errors import InvalidValueError
from app.runs.search import search_runs
from tests.integration.search.search_seed import Seed, new_tenant

EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def is_valid(location: str) -> bool:
    try:
        validation.artifact_location(location)
    except InvalidValueError:
        return False
    return True


SCHEMES = st.sampled_from(["s3:/", "s3://", "gs://", "hdfs:///", "abfss://c@", "my-store:/"])
PATHS = st.text(
    st.sampled_from("ab/_-.:@ '\"ÄZ") | st.characters(categories=["L", "N"]), max_size=20
)
LOCATIONS = (
    st.tuples(SCHEMES, PATHS, st.sampled_from(["", "/", "//"])).map("".join).filter(is_valid)
)


@pytest.fixture(scope="module")
def experiments(connection: Connection) -> tuple[Seed, Iterator[int]]:
    """A tenant, and numbers for its experiments."""
    return Seed(connection, new_tenant(connection)), iter(range(1, 1_000_000))


@EXAMPLES
@given(st.none() | LOCATIONS)
def test_a_filter_by_the_uri_that_is_shown_finds_the_run(
    experiments: tuple[Seed, Iterator[int]], location: str | None
) -> None:
    seed, numbers = experiments
    number = next(numbers)
    seed.experiment(number, f"e{number}", artifact_location=location)
    run, other = (seed.run("r", experiment_id=number) for _ in range(2))
    uri = run_artifact_uri(number, location, run.hex)
    quote = '"' if "'" in uri else "'"
    assume(quote not in uri)  # a text with both kinds of quotes can't be written in a filter

    page = search_runs(seed.tenant, None, filter=f"artifact_uri = {quote}{uri}{quote}", limit=9)
    assert seed.ids(page) == [run]
    page = search_runs(
        seed.tenant, [number], filter=f"artifact_uri != {quote}{uri}{quote}", limit=9
    )
    assert seed.ids(page) == [other]


def test_the_order_is_that_of_the_uris_that_are_shown(connection: Connection) -> None:
    seed = Seed(connection, new_tenant(connection))
    uris = {}
    for number, location in enumerate(["s3://b/x/", "s3://b/x", "s3://b/x/a", "s3://b/X//", None]):
        seed.experiment(number, f"e{number}", artifact_location=location)
        run_id = seed.run("r", experiment_id=number, run_id=UUID(int=9 - number))
        uris[run_id] = run_artifact_uri(number, location, run_id.hex)
    page = search_runs(seed.tenant, None, order_by=["artifact_uri"], limit=9)
    assert seed.ids(page) == sorted(uris, key=uris.__getitem__)
