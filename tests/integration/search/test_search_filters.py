"""What MLflow's own store cannot tell us: tenants, derived values, numbers out of range."""

import math
from typing import Any
from uuid import UUID

import pytest

from app.experiments.search import search_experiments
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.logged_models.search import DatasetFilter, search_logged_models
from app.runs.search import search_runs
from tests.integration.search.search_seed import Seed, new_tenant


def names(seed: Seed, filter: str, **arguments: Any) -> list[str]:
    """The runs of experiment 1 that match, by the names that their ids were given."""
    page = search_runs(seed.tenant, [1], filter=filter, order_by=["run_id"], limit=100, **arguments)
    found = seed.ids(page)
    assert seed.count(page) == len(found)
    return [chr(id.int) for id in found]


def run(seed: Seed, letter: str, **arguments: Any) -> UUID:
    return seed.run(letter, run_id=UUID(int=ord(letter)), **arguments)


class TestTenants:
    def test_sees_only_its_own(self, seed: Seed) -> None:
        seed.experiment(1, "e", tags={"k": "v"})
        run(seed, "a", metrics={"m": 1}, tags={"t": "x"}, datasets=[("d", "1", "train")])
        other = Seed(seed.connection, new_tenant(seed.connection))
        assert names(other, "") == []
        assert other.ids(search_experiments(other.tenant, limit=10)) == []

    def test_every_table_is_bound_to_the_tenant(self, seed: Seed) -> None:
        filter = (
            "metrics.m > 0 AND params.p = 'x' AND tags.t IS NULL AND dataset.name = 'd'"
            " AND dataset.context = 'c' AND artifact_uri LIKE '%'"
        )
        order = ["metrics.m", "params.p", "tags.t", "artifact_uri"]
        page = search_runs(seed.tenant, [1], filter=filter, order_by=order, limit=1)
        models = search_logged_models(
            seed.tenant,
            [1],
            filter="metrics.m > 0 AND params.p = 'x' AND tags.t = 'x'",
            datasets=[DatasetFilter("d")],
            limit=1,
        )
        for statement in (page.statement, page.count, models.statement):
            text = str(statement.compile())
            tables = text.count("\nFROM ") + text.count("JOIN ") + text.count(", datasets")
            assert text.count("tenant_id = :tenant_id") == tables - text.count("JOIN LATERAL")

    def test_no_experiments(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        run(seed, "a")
        assert seed.ids(search_runs(seed.tenant, [], limit=10)) == []
        assert seed.ids(search_runs(seed.tenant, [2**80], limit=10)) == []


class TestTenantTag:
    @pytest.mark.parametrize("entity", ["run", "experiment"])
    def test_is_derived(self, seed: Seed, entity: str) -> None:
        seed.experiment(1, "e")
        run(seed, "a")

        def count(condition: str, **arguments: bool) -> int:
            filter = f"tags.`matih.tenant_id` {condition}"
            if entity == "run":
                page = search_runs(seed.tenant, [1], filter=filter, limit=9, **arguments)
            else:
                page = search_experiments(seed.tenant, filter=filter, limit=9, **arguments)
            return seed.count(page)

        slug = seed.tenant.slug
        assert count(f"= '{slug}'") == count("LIKE 'search-%'") == count("IS NOT NULL") == 1
        assert count("= 'x'") == count("IS NULL") == count(f"!= '{slug}'") == 0
        assert count(f"= '{slug}'", tenant_tag=False) == 0
        assert count("IS NULL", tenant_tag=False) == 1

    def test_can_be_ordered_by(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        run(seed, "a")
        order = ["tags.`matih.tenant_id` DESC"]
        assert len(seed.ids(search_runs(seed.tenant, [1], order_by=order, limit=9))) == 1


class TestArtifactUri:
    def test_of_this_server(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        uri = f"mlflow-artifacts:/experiments/1/runs/{run(seed, 'a').hex}/artifacts"
        run(seed, "b")
        assert names(seed, f"artifact_uri = '{uri}'") == ["a"]
        assert names(seed, "artifact_uri LIKE 'mlflow-artifacts:/experiments/1/runs/%'") == [
            "a",
            "b",
        ]

    def test_overridden(self, seed: Seed) -> None:
        seed.experiment(1, "e", artifact_location="s3://bucket/x")
        uri = f"s3://bucket/x/{run(seed, 'a').hex}/artifacts"
        assert names(seed, f"artifact_uri = '{uri}'") == ["a"]


class TestNumbers:
    @pytest.fixture(autouse=True)
    def runs(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        for letter, value in zip("abcde", (1.0, -1.0, math.inf, -math.inf, math.nan), strict=True):
            run(seed, letter, metrics={"m": value}, start_time=1000, end_time=None)
        run(seed, "f", start_time=2**63 - 1, end_time=-(2**63))

    @pytest.mark.parametrize(
        ("filter", "found"),
        [
            ("metrics.m > 0", "ac"),
            ("metrics.m >= -1", "abc"),
            ("metrics.m < 0", "bd"),
            ("metrics.m = 1", "a"),
            ("metrics.m != 1", "bcde"),
            ("metrics.m > 1e308", "c"),
            ("metrics.m = 1e999", "c"),
            ("metrics.m <= -1e999", "d"),
            ("metrics.m > -5 AND metrics.m < 5", "ab"),
            ("start_time = 1000.0", "abcde"),
            ("start_time > 999.5", "abcdef"),
            ("start_time >= 1000.5", "f"),
            ("start_time < 1000.5", "abcde"),
            ("start_time <= 999.5", ""),
            ("start_time = 1000.5", ""),
            ("start_time != 1000.5", "abcdef"),
            ("start_time > 9223372036854775806", "f"),
            ("start_time > 9223372036854775807", ""),
            ("start_time < 9223372036854775808", "abcdef"),
            ("start_time != 99999999999999999999", "abcdef"),
            ("start_time = 99999999999999999999", ""),
            (f"start_time < {'9' * 5000}", "abcdef"),
            (f"start_time > -{'9' * 5000}", "abcdef"),
            ("start_time < 1e999999999999", "abcdef"),
            ("end_time != 5.5", "f"),
            ("end_time != 99999999999999999999", "f"),
            ("end_time < 0", "f"),
        ],
    )
    def test_comparison(self, seed: Seed, filter: str, found: str) -> None:
        assert names(seed, filter) == list(found)


class TestTexts:
    @pytest.fixture(autouse=True)
    def runs(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        run(seed, "a", tags={"t": "back\\slash"}, params={"p": "50%"})
        run(seed, "b", tags={"t": "50_"}, params={"p": "500"})

    @pytest.mark.parametrize(
        ("filter", "found"),
        [
            (r"tags.t = 'back\slash'", "a"),
            (r"tags.t LIKE 'back\\slash'", "a"),
            (r"params.p LIKE '50\%'", "a"),
            ("params.p LIKE '50%'", "ab"),
            (r"tags.t LIKE '%\_'", "b"),
            (r"tags.t LIKE 'x\'", ""),
            (r"tags.t LIKE '%slash\\'", ""),
            ("run_name ILIKE 'A'", "a"),
            ("run_name LIKE 'A'", ""),
            ("run_id LIKE '%61'", "a"),
            ("run_id NOT IN ('x')", "ab"),
            ("run_id != '00000000000000000000000000000061'", "b"),
            ("run_id IN ('00000000000000000000000000000061', 'x')", "a"),
            ("run_id = '00000000-0000-0000-0000-000000000061'", ""),
            ("tags.mlflow.runName = 'a'", "a"),
            ("tags.mlflow.runName IS NULL", ""),
            ("tags.t IS NOT NULL AND tags.t != 'x'", "ab"),
        ],
    )
    def test_comparison(self, seed: Seed, filter: str, found: str) -> None:
        assert names(seed, filter) == list(found)

    def test_many_comparisons(self, seed: Seed) -> None:
        filter = " AND ".join(f"tags.t != 'x{n}' AND tags.none{n} IS NULL" for n in range(50))
        assert names(seed, filter) == ["a", "b"]

    def test_a_long_list(self, seed: Seed) -> None:
        ids = ", ".join(f"'{n:032x}'" for n in range(5000))
        assert names(seed, f"run_id IN ({ids})") == ["a", "b"]


class TestArguments:
    def test_statuses(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        run(seed, "a", status="FAILED")
        run(seed, "b", status="RUNNING")
        run(seed, "c")
        assert names(seed, "", statuses=["FAILED", "RUNNING"]) == ["a", "b"]

    def test_name_contains_takes_wildcards_for_characters(self, seed: Seed) -> None:
        seed.experiment(1, "100% Sure")
        seed.experiment(2, "1000 sure")

        def found(text: str) -> list[int]:
            return seed.ids(search_experiments(seed.tenant, name_contains=text, limit=9))

        assert found("0% s") == [1]
        assert sorted(found("SURE")) == [1, 2]
        assert found("_") == found("\\") == []

    def test_model_status_goes_by_the_clients_names(self, seed: Seed) -> None:
        seed.experiment(1, "e")
        seed.model("m-1", status="LOGGED_MODEL_READY")
        seed.model("m-2", status="LOGGED_MODEL_UPLOAD_FAILED")

        def found(filter: str) -> list[str]:
            return seed.ids(search_logged_models(seed.tenant, [1], filter=filter, limit=9))

        assert found("status = 'READY'") == ["m-1"]
        assert found("status IN ('FAILED', 'PENDING')") == ["m-2"]

    def test_dataset_without_a_name(self) -> None:
        with pytest.raises(InvalidValueError, match="`dataset_name` in the `datasets` clause"):
            search_logged_models(Tenant(1, "t"), [1], datasets=[DatasetFilter("")], limit=1)
