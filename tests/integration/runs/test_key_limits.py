"""Limits on how many metrics, params and tags there may be, by every way to add some."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.kernel.tenant import Tenant
from app.metrics.entities import Point
from app.runs import batch_writer, key_limits
from app.runs.entities import RunWrite
from app.services import Services
from tests.support.statements import recorded_statements

LIMIT = 5


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may have five of each kind."""
    monkeypatch.setattr(key_limits, "LIMITS", dict.fromkeys(key_limits.LIMITS, LIMIT))


def write(run_id: str, kind: str, keys: Sequence[str]) -> RunWrite:
    if kind == "metrics":
        return RunWrite(run_id, [Point(key, 1.0, 1) for key in keys])
    if kind == "params":
        return RunWrite(run_id, params=dict.fromkeys(keys, "v"))
    return RunWrite(run_id, tags=dict.fromkeys(keys, "v"))


def whole_write(run_id: str, keys: Mapping[str, Sequence[str]]) -> RunWrite:
    points = [Point(key, 1.0, 1) for key in keys["metrics"]]
    return RunWrite(
        run_id, points, dict.fromkeys(keys["params"], "v"), dict.fromkeys(keys["tags"], "v")
    )


async def stored(services: Services, tenant: Tenant, run_id: str) -> dict[str, set[str]]:
    run = await services.runs.get(tenant, run_id)
    return {
        "metrics": {metric.key for metric in run.metrics},
        "params": set(run.params),
        "tags": run.tags.keys() - {"mlflow.runName", "matih.tenant_id"},
    }


async def new_run(services: Services, tenant: Tenant) -> str:
    return (await services.runs.create(tenant, "0")).run_id.hex


KEYS = st.lists(st.sampled_from("abcdefgh"), max_size=4, unique=True)
WRITES = st.lists(
    st.fixed_dictionaries(dict.fromkeys(key_limits.LIMITS, KEYS)), min_size=1, max_size=6
)


@pytest.mark.usefixtures("low_limits")
class TestBatch:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(writes=WRITES, batches=st.lists(st.integers(1, 3), min_size=6, max_size=6))
    async def test_each_write_is_all_or_nothing(
        self,
        services: Services,
        tenant: Tenant,
        writes: list[dict[str, list[str]]],
        batches: list[int],
    ) -> None:
        """Writes to two runs in batches have the same effect as one write after another."""
        runs = [await new_run(services, tenant) for _ in range(2)]
        expected: list[dict[str, set[str]]] = [
            {kind: set() for kind in key_limits.LIMITS} for _ in runs
        ]
        waiting = [(number % 2, keys) for number, keys in enumerate(writes)]
        for size in batches:
            in_batch, waiting = waiting[:size], waiting[size:]
            together = [whole_write(runs[place], keys) for place, keys in in_batch]
            answers = together and await batch_writer.write_batch(
                services.database, tenant, together
            )
            for (place, keys), answer in zip(in_batch, answers, strict=True):
                after = {kind: expected[place][kind] | set(keys[kind]) for kind in keys}
                full = [kind for kind in keys if len(after[kind]) > LIMIT]
                assert (answer is None) == (not full)
                if full:
                    assert isinstance(answer, InvalidValueError)
                    assert answer.field in full
                else:
                    expected[place] = after
        for run_id, keys_of_run in zip(runs, expected, strict=True):
            assert await stored(services, tenant, run_id) == keys_of_run

    @pytest.mark.parametrize("kind", key_limits.LIMITS)
    async def test_a_full_run_takes_new_values_of_what_it_has(
        self, services: Services, tenant: Tenant, kind: str
    ) -> None:
        run_id = await new_run(services, tenant)
        await services.runs.log(tenant, write(run_id, kind, "abcde"))
        await services.runs.log(tenant, write(run_id, kind, "abcde"))
        with pytest.raises(InvalidValueError, match=f"at most {LIMIT} {kind}") as caught:
            await services.runs.log(tenant, write(run_id, kind, "ef"))
        assert caught.value.field == kind

    @pytest.mark.parametrize("kind", key_limits.LIMITS)
    async def test_a_run_over_the_limit_keeps_its_keys(
        self, services: Services, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        run_id = await new_run(services, tenant)
        with monkeypatch.context() as raised:
            raised.setattr(key_limits, "LIMITS", dict.fromkeys(key_limits.LIMITS, 100))
            await services.runs.log(tenant, write(run_id, kind, "abcdefgh"))
        await services.runs.log(tenant, write(run_id, kind, "abcdefgh"))
        with pytest.raises(InvalidValueError):
            await services.runs.log(tenant, write(run_id, kind, "i"))
        assert (await stored(services, tenant, run_id))[kind] == set("abcdefgh")

    async def test_the_name_does_not_count_as_a_tag(
        self, services: Services, tenant: Tenant
    ) -> None:
        run_id = await new_run(services, tenant)
        await services.runs.log(tenant, write(run_id, "tags", "abcde"))
        await services.runs.log(tenant, RunWrite(run_id, tags={"mlflow.runName": "n", "a": "1"}))
        await services.runs.update(tenant, run_id, tags={"mlflow.runName": "m"})
        run = await services.runs.get(tenant, run_id)
        assert run.name == "m"

    @pytest.mark.parametrize("kind", key_limits.LIMITS)
    async def test_the_writes_of_a_batch_share_what_remains(
        self, services: Services, tenant: Tenant, kind: str
    ) -> None:
        """A key counts once, however many writes have it; a further key is refused."""
        run_id = await new_run(services, tenant)
        await services.runs.log(tenant, write(run_id, kind, "abcd"))
        together = [write(run_id, kind, key) for key in ("x", "x", "y", "xa")]
        answers = await batch_writer.write_batch(services.database, tenant, together)
        assert [answer is None for answer in answers] == [True, True, False, True]

    async def test_writes_that_race_for_the_last_key(
        self, services: Services, tenant: Tenant
    ) -> None:
        """In several workers: they count under the run's lock."""
        run_id = await new_run(services, tenant)
        await services.runs.log(tenant, write(run_id, "metrics", "abcd"))
        answers = await asyncio.gather(
            *(
                batch_writer.write_batch(services.database, tenant, [write(run_id, "metrics", key)])
                for key in "xyz"
            )
        )
        assert sorted(answer is None for (answer,) in answers) == [False, False, True]


async def test_a_write_to_existing_series_sends_no_further_statement(
    services: Services, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await new_run(services, tenant)
    await services.runs.log(tenant, write(run_id, "metrics", "ab"))
    sent = recorded_statements(monkeypatch)
    points = [Point(key, 2.0, 2, 1) for key in "ab"]
    await services.runs.log(tenant, RunWrite(run_id, points))
    # Set the tenant, lock the run, log the points.
    assert len(sent) == 3


class TestUpdate:
    async def test_many_tags_are_a_few_statements(
        self, services: Services, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = await new_run(services, tenant)
        many = {f"k{number}": "v" for number in range(validation.MAX_TAGS)}
        await services.runs.update(tenant, run_id, tags=many)
        assert len((await services.runs.get(tenant, run_id)).tags) >= len(many)
        sent = recorded_statements(monkeypatch)
        await services.runs.update(tenant, run_id, tags=dict.fromkeys(many))
        run = await services.runs.get(tenant, run_id)
        assert run.tags.keys().isdisjoint(many)
        assert len(sent) < 20

    @pytest.mark.usefixtures("low_limits")
    async def test_deleted_tags_make_room_for_new_ones(
        self, services: Services, tenant: Tenant
    ) -> None:
        run_id = await new_run(services, tenant)
        await services.runs.update(tenant, run_id, tags=dict.fromkeys("abcde", "v"))
        with pytest.raises(InvalidValueError, match="at most 5 tags") as caught:
            await services.runs.update(tenant, run_id, tags={"a": None, "x": "v", "y": "v"})
        assert caught.value.field == "tags"
        await services.runs.update(tenant, run_id, tags={"a": None, "x": "v", "b": "new"})
        assert (await stored(services, tenant, run_id))["tags"] == set("bcdex")


Make = Callable[[Services, Tenant, Mapping[str, str]], Coroutine[Any, Any, Any]]


async def make_run(services: Services, tenant: Tenant, tags: Mapping[str, str]) -> Any:
    return await services.runs.create(tenant, "0", tags=tags)


async def make_experiment(services: Services, tenant: Tenant, tags: Mapping[str, str]) -> Any:
    return await services.experiments.create(tenant, f"e{len(tags)}", tags=tags)


async def make_registered_model(services: Services, tenant: Tenant, tags: Mapping[str, str]) -> Any:
    return await services.registered_models.create(tenant, f"m{len(tags)}", tags=tags)


async def make_version(services: Services, tenant: Tenant, tags: Mapping[str, str]) -> Any:
    name = f"m{len(tags)}"
    await services.registered_models.create(tenant, name)
    return await services.model_versions.create(tenant, name, "s3://bucket/model", tags=tags)


async def make_logged_model(services: Services, tenant: Tenant, tags: Mapping[str, str]) -> Any:
    return await services.models.create(tenant, "0", tags=tags)


@pytest.mark.parametrize(
    "make", [make_run, make_experiment, make_registered_model, make_version, make_logged_model]
)
async def test_at_most_a_thousand_tags_can_be_created_with(
    services: Services, tenant: Tenant, make: Make
) -> None:
    tags = {f"k{number}": "v" for number in range(validation.MAX_TAGS)}
    await make(services, tenant, tags)
    with pytest.raises(InvalidValueError, match="at most 1000 tags") as caught:
        await make(services, tenant, tags | {"one more": "v"})
    assert caught.value.field == "tags"


@pytest.mark.parametrize("kind", ["run", "logged model"])
async def test_at_most_5000_params_can_be_created_with(
    services: Services, tenant: Tenant, kind: str
) -> None:
    create = services.runs.create if kind == "run" else services.models.create
    params = {f"k{number}": "v" for number in range(validation.MAX_PARAMS)}
    created = await create(tenant, "0", params=params)
    assert created.params == params
    with pytest.raises(InvalidValueError, match="at most 5000 params") as caught:
        await create(tenant, "0", params=params | {"one more": "v"})
    assert caught.value.field == "params"


class TestAtTheLimit:
    """A new key is refused, a new value of an existing key is not."""

    TAGS = {f"k{number}": "v" for number in range(validation.MAX_TAGS)}  # noqa: RUF012

    async def test_an_experiment(self, services: Services, tenant: Tenant) -> None:
        of = str(await services.experiments.create(tenant, "full", tags=self.TAGS))
        await services.experiments.set_tag(tenant, of, "k1", "new")
        with pytest.raises(InvalidValueError, match="at most 1000 tags"):
            await services.experiments.set_tag(tenant, of, "x", "v")
        with pytest.raises(InvalidValueError, match="at most 1000 tags"):
            await services.experiments.update(tenant, of, tags={"k1": None, "x": "v", "y": "v"})
        await services.experiments.update(tenant, of, tags={"k1": None, "x": "v", "k2": "new"})
        tags = (await services.experiments.get(tenant, of)).tags
        assert (tags["x"], tags["k2"], "k1" in tags) == ("v", "new", False)

    async def test_the_registry(self, services: Services, tenant: Tenant) -> None:
        models, versions = services.registered_models, services.model_versions
        await models.create(tenant, "full", tags=self.TAGS)
        await versions.create(tenant, "full", "s3://bucket/model", tags=self.TAGS)
        await models.set_tag(tenant, "full", "k1", "new")
        await versions.set_tag(tenant, "full", "1", "k1", "new")
        with pytest.raises(InvalidValueError, match="A registered model may have at most 1000"):
            await models.set_tag(tenant, "full", "x", "v")
        with pytest.raises(InvalidValueError, match="A model version may have at most 1000 tags"):
            await versions.set_tag(tenant, "full", "1", "x", "v")

    async def test_a_logged_model(self, services: Services, tenant: Tenant) -> None:
        params = {f"k{number}": "v" for number in range(validation.MAX_PARAMS)}
        model = await services.models.create(tenant, "0", tags=self.TAGS, params=params)
        of = model.model_id
        await services.models.set_tags(tenant, of, {"k1": "new"})
        await services.models.log_params(tenant, of, {"k1": "v"})
        with pytest.raises(InvalidValueError, match="at most 1000 tags"):
            await services.models.set_tags(tenant, of, {"k1": "newer", "x": "v"})
        with pytest.raises(InvalidValueError, match="at most 5000 params"):
            await services.models.log_params(tenant, of, {"k1": "v", "x": "v"})
        assert (await services.models.get(tenant, of)).tags["k1"] == "new"
