"""Random calls and searches, against MLflow's own registry store (on SQLite).

Both must answer the same, and refuse the same calls in the same words.
"""

import random
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow.entities.model_registry import ModelVersion as TheirVersion
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.entities.model_registry import RegisteredModel as TheirModel
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from app.kernel.errors import AlreadyExistsError, NotFoundError, TrackingError
from app.kernel.tenant import Tenant
from app.registry.entities import ModelVersion, RegisteredModel
from app.services import Services

NAMES = ["a", "A", "b", "a_b", "100%", "it's"]
ODD_NAMES = [*NAMES, "x/y", "..", " "]
NUMBERS = ["1", "2", "3", "9", "x", ""]
STAGES = ["None", "staging", "Production", "ARCHIVED", "bogus"]
ALIASES = ["best", "Best", "new-1", "latest", "v1", "a b"]
KEYS = ["k", "k 2", "a.b"]
VALUES = ["a", "A", "", "x y", "100%", "true"]
PROMPT = "mlflow.prompt.is_prompt"

# What a call of either store is answered with: the error's code and words, or plain data.
Outcome = Any


class Refusal(NamedTuple):
    code: str
    words: str


@pytest.fixture
def store(mlflow_tables: Path, tmp_path: Path) -> SqlAlchemyStore:
    shutil.copy(mlflow_tables, tmp_path / "mlflow.db")
    return SqlAlchemyStore(f"sqlite:///{tmp_path}/mlflow.db")


class Both:
    """MLflow's registry and ours."""

    def __init__(self, store: SqlAlchemyStore, services: Services, tenant: Tenant) -> None:
        self.store, self.tenant = store, tenant
        self.models, self.versions = services.registered_models, services.model_versions

    async def compare(
        self,
        what: object,
        theirs: Callable[[], Any],
        ours: Awaitable[Any],
        *,
        words: bool = True,
    ) -> None:
        """`words`: whether errors must say the same; of two mistakes either may be told."""
        expected, found = _theirs(theirs), await _ours(ours)
        if isinstance(expected, Refusal) and isinstance(found, Refusal):
            words = words and bool(expected.words)
            assert (found.code, words and found.words) == (
                expected.code,
                words and expected.words,
            ), what
        else:
            assert found == expected, what

    # Each of the following is one call of both.

    async def create_model(self, name: str, tags: dict[str, str], about: str) -> None:
        await self.compare(
            ("create", name),
            lambda: self.store.create_registered_model(
                name, [RegisteredModelTag(*one) for one in tags.items()], about
            ),
            self.models.create(self.tenant, name, tags=tags, description=about),
        )

    async def create_version(self, name: str, tags: dict[str, str], n: int) -> None:
        await self.compare(
            ("create version", name),
            lambda: self.store.create_model_version(
                name,
                f"s3://bucket/{n % 3}",
                f"run{n % 2}",
                [ModelVersionTag(*one) for one in tags.items()],
                run_link="",
                description=str(n),
            ),
            self.versions.create(
                self.tenant,
                name,
                f"s3://bucket/{n % 3}",
                run_id=f"run{n % 2}",
                tags=tags,
                description=str(n),
            ),
        )

    async def on_model(self, chance: random.Random, name: str) -> None:
        key, value = chance.choice(KEYS), chance.choice(VALUES)
        other = chance.choice(ODD_NAMES)
        alias, number = chance.choice(ALIASES), chance.choice(NUMBERS)
        stages = chance.sample(STAGES, chance.randrange(3))
        store, models, tenant = self.store, self.models, self.tenant
        calls: dict[str, tuple[Callable[[], Any], Callable[[], Awaitable[Any]]]] = {
            "get": (
                lambda: store.get_registered_model(name),
                lambda: models.get(tenant, name),
            ),
            "update": (
                lambda: store.update_registered_model(name, value),
                lambda: models.update(tenant, name, description=value),
            ),
            f"rename to {other}": (
                lambda: store.rename_registered_model(name, other),
                lambda: models.rename(tenant, name, other),
            ),
            f"latest of {stages}": (
                lambda: store.get_latest_versions(name, stages),
                lambda: models.latest_versions(tenant, name, stages),
            ),
            "set tag": (
                lambda: store.set_registered_model_tag(name, RegisteredModelTag(key, value)),
                lambda: models.set_tag(tenant, name, key, value),
            ),
            "delete tag": (
                lambda: store.delete_registered_model_tag(name, key),
                lambda: models.delete_tag(tenant, name, key),
            ),
            f"set alias {alias} {number}": (
                lambda: store.set_registered_model_alias(name, alias, number),
                lambda: models.set_alias(tenant, name, alias, number),
            ),
            f"delete alias {alias}": (
                lambda: store.delete_registered_model_alias(name, alias),
                lambda: models.delete_alias(tenant, name, alias),
            ),
            f"by alias {alias}": (
                lambda: store.get_model_version_by_alias(name, alias),
                lambda: models.version_by_alias(tenant, name, alias),
            ),
        }
        if chance.random() < 0.1:
            calls = {
                "delete": (
                    lambda: store.delete_registered_model(name),
                    lambda: models.delete(tenant, name),
                )
            }
        what = chance.choice(list(calls))
        theirs, ours = calls[what]
        await self.compare((what, name), theirs, ours())

    async def on_version(self, chance: random.Random, name: str) -> None:
        number = chance.choice(NUMBERS) if name in NAMES else "1"
        stage = chance.choice(STAGES)
        key, value = chance.choice(KEYS), chance.choice(VALUES)
        archive = chance.random() < 0.5
        store, versions, tenant = self.store, self.versions, self.tenant
        calls: dict[str, tuple[Callable[[], Any], Callable[[], Awaitable[Any]]]] = {
            "get": (
                lambda: store.get_model_version(name, number),
                lambda: versions.get(tenant, name, number),
            ),
            "update": (
                lambda: store.update_model_version(name, number, value),
                lambda: versions.update(tenant, name, number, description=value),
            ),
            "delete": (
                lambda: store.delete_model_version(name, number),
                lambda: versions.delete(tenant, name, number),
            ),
            "download uri": (
                lambda: store.get_model_version_download_uri(name, number),
                lambda: versions.download_uri(tenant, name, number),
            ),
            f"to {stage}, {archive=}": (
                lambda: store.transition_model_version_stage(name, number, stage, archive),
                lambda: versions.transition(
                    tenant, name, number, stage, archive_existing_versions=archive
                ),
            ),
            "set tag": (
                lambda: store.set_model_version_tag(name, number, ModelVersionTag(key, value)),
                lambda: versions.set_tag(tenant, name, number, key, value),
            ),
            "delete tag": (
                lambda: store.delete_model_version_tag(name, number, key),
                lambda: versions.delete_tag(tenant, name, number, key),
            ),
        }
        what = chance.choice(list(calls))
        theirs, ours = calls[what]
        await self.compare((what, name, number), theirs, ours())

    async def search(self, comparisons: Sequence[str], order_by: Sequence[str], kind: str) -> None:
        models = kind == "models"
        service = self.models if models else self.versions
        search = self.store.search_registered_models if models else self.store.search_model_versions
        filter = " AND ".join(comparisons)
        await self.compare(
            (kind, filter, order_by),
            lambda: _named(search(filter, 100, order_by)),
            _names(service.search(self.tenant, filter=filter, order_by=order_by, limit=100)),
            words=len(comparisons) + len(order_by) < 2,
        )


def _named(found: Sequence[Any]) -> list[tuple[str, int]]:
    return [(one.name, int(getattr(one, "version", 0))) for one in found]


async def _names(search: Awaitable[tuple[Sequence[Any], str | None]]) -> list[tuple[str, int]]:
    return _named((await search)[0])


def _theirs(call: Callable[[], Any]) -> Outcome:
    try:
        return _plain(call())
    except MlflowException as error:
        code = error.error_code
        if code == "BAD_REQUEST":
            # What it does not check its database refuses, in the database's words.
            return Refusal("INVALID_PARAMETER_VALUE", "")
        if "is not an Active stage" in error.message or "duplicate fields" in error.message:
            code = "INVALID_PARAMETER_VALUE"  # theirs is an internal error
        return Refusal(code, _gist(error.message))


async def _ours(call: Awaitable[Any]) -> Outcome:
    try:
        return _plain(await call)
    except TrackingError as error:
        match error:
            case NotFoundError():
                code = "RESOURCE_DOES_NOT_EXIST"
            case AlreadyExistsError():
                code = "RESOURCE_ALREADY_EXISTS"
            case _:
                code = "INVALID_PARAMETER_VALUE"
        return Refusal(code, _gist(error.message))


# In these MLflow shows what its database said, a set in random order, or a part of the string; we
# add the place.
_LOOSE = re.compile(
    r"( Error: \(.*| \(column \d+\)\n.*| Valid keys are.*|(?<=Only the ').*"
    r"|(?<=Invalid comparator for attribute).*|(?<=Invalid clause).*)$",
    re.DOTALL,
)


def _gist(message: str) -> str:
    return _LOOSE.sub("", message)


def _plain(value: Any) -> Outcome:
    match value:
        case TheirModel():
            return (
                value.name,
                value.description or None,
                value._tags,
                {alias: int(number) for alias, number in value._aliases.items()},
                [_plain(one)[:-1] for one in value.latest_versions],
            )
        case RegisteredModel():
            return (
                value.name,
                value.description or None,
                value.tags,
                value.aliases,
                [_plain(one)[:-1] for one in value.latest_versions],
            )
        case TheirVersion():
            return (*_fields(value), value._tags, sorted(value.aliases))
        case ModelVersion():
            return (*_fields(value), value.tags, sorted(value.aliases))
        case list():
            return [_plain(one) for one in value]
    return value


def _fields(version: Any) -> tuple[object, ...]:
    return (
        version.name,
        int(version.version),
        version.description,
        version.source,
        version.run_id,
        version.run_link,
        version.current_stage,
    )


def _tags(chance: random.Random) -> dict[str, str]:
    keys = chance.sample(KEYS, chance.randrange(3))
    return {key: chance.choice(VALUES) for key in keys}


@pytest.mark.parametrize("seed", range(4))
async def test_calls(store: SqlAlchemyStore, services: Services, tenant: Tenant, seed: int) -> None:
    chance = random.Random(seed)
    both = Both(store, services, tenant)
    for n in range(250):
        name = chance.choice(NAMES[:4]) if chance.random() < 0.9 else chance.choice(ODD_NAMES)
        match chance.randrange(8):
            case 0:
                await both.create_model(name, _tags(chance), chance.choice(VALUES))
            case 1 | 2:
                await both.create_version(name, _tags(chance), n)
            case 3 | 4:
                await both.on_model(chance, name)
            case _:
                await both.on_version(chance, name)
    for name in ODD_NAMES:
        await both.compare(
            ("in the end", name),
            lambda name=name: store.get_registered_model(name),
            services.registered_models.get(tenant, name),
        )


COMPARATORS = ["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", ">", "<="]
VALUES_IN_FILTERS = ["'a'", "'A%'", "'_'", "'%b'", '"true"', "'false'", "'100%'", "('a', 'b')", "5",
                     "1.5", "'1'", "x"]  # fmt: skip
MODEL_KEYS = ["name", "attribute.name", "tags.k", "tag.`k 2`", f"tags.`{PROMPT}`", "nope", "x.y"]
VERSION_KEYS = [*MODEL_KEYS, "version_number", "run_id", "source_path"]
MODEL_ORDERS = ["name", "name DESC", "timestamp", "nope", "name FOO"]
VERSION_ORDERS = ["name", "name DESC", "version_number", "version_number desc", "nope", "run_id"]


@pytest.mark.parametrize("kind", ["models", "versions"])
async def test_searches(
    store: SqlAlchemyStore, services: Services, tenant: Tenant, kind: str
) -> None:
    chance = random.Random(11)
    both = Both(store, services, tenant)
    for name in NAMES:
        prompt = {PROMPT: "true"} if name in ("A", "100%") else {}
        await both.create_model(name, _tags(chance) | prompt, "")
        for n in range(0 if prompt else chance.randrange(1, 4)):
            await both.create_version(name, _tags(chance), n)
    keys, orders = (
        (MODEL_KEYS, MODEL_ORDERS) if kind == "models" else (VERSION_KEYS, VERSION_ORDERS)
    )
    for _ in range(600):
        comparisons = [
            f"{chance.choice(keys)} {chance.choice(COMPARATORS)} {chance.choice(VALUES_IN_FILTERS)}"
            for _ in range(chance.choice([0, 1, 1, 1, 2]))
        ]
        order_by = chance.sample(orders, chance.choice([0, 0, 1, 2]))
        # MLflow's own order of versions is by time, which differs between the two.
        await both.search(comparisons, order_by or (["name"] if kind == "versions" else []), kind)
