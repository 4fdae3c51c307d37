"""Random filters and orders on the same data, against MLflow's own SQL store (on SQLite).

Both must find the same things in the same order, and refuse the same searches in the same words.
"""

import math
import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mlflow.entities import (
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    LoggedModelParameter,
    LoggedModelTag,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Connection

from app.experiments.search import search_experiments
from app.kernel.errors import InvalidValueError
from app.logged_models.search import DatasetFilter, ModelOrder, search_logged_models
from app.runs.search import search_runs
from tests.integration.search.search_seed import Seed, new_tenant

EXAMPLES = settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TEXTS = ["a", "A", "b", "ab", "", "x y", "it's", "100%", "a_b", "ä", "run-1", "FINISHED", "1"]
PATTERNS = ["a%", "%B", "_", "%", "a", "A_b", "100%", "run-%", "RUN-1"]
NUMBERS = ["0", "1", "-1", "1.5", "1000", "1000.0", "999.5", "-2.5e-1", "1E3", ".5", "1.", "1e300"]
COMPARATORS = ["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "==", "RLIKE"]


@dataclass
class Both:
    """The same data in MLflow's store and in ours."""

    store: SqlAlchemyStore
    seed: Seed
    experiment_ids: list[str]

    def compare(self, theirs: Callable[[], Any], ours: Callable[[], Any], *, words: bool) -> None:
        """`words`: whether errors must say the same."""
        expected, found = _outcome(theirs), _outcome(ours)
        if isinstance(expected, str) and isinstance(found, str):
            assert not words or found.startswith(_gist(expected)), (expected, found)
        elif expected is not CRASH:
            assert found == expected


CRASH = object()
# MLflow says in many ways that something cannot be parsed, or not be compared so, and checks this
# at other times than we do: any error will do.
LOOSE = re.compile(r"Invalid (clause|comparison|comparator|filter string|order_by clause)")


def _gist(message: str) -> str:
    """What must be the same: MLflow prints sets, in random order, and we add the place."""
    return "" if LOOSE.match(message) else message.partition("{")[0].rstrip(".'")


def _outcome(search: Callable[[], Any]) -> Any:
    """What was found, or the error's words; MLflow has inputs that it does not expect."""
    try:
        return search()
    except InvalidValueError as error:
        return error.message
    except MlflowException as error:
        return error.message if error.error_code == "INVALID_PARAMETER_VALUE" else CRASH
    except (AttributeError, TypeError, ValueError, SyntaxError):
        return CRASH


# --- the data -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(
    connection: Connection, mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> Both:
    path = tmp_path_factory.mktemp("mlflow")
    shutil.copy(mlflow_tables, path / "mlflow.db")
    store = SqlAlchemyStore(f"sqlite:///{path}/mlflow.db", (path / "artifacts").as_uri())
    chance = random.Random(7)
    ids = [store.create_experiment(name, None, None) for name in ("a", "b", "A b", "100%", "a_b")]
    for experiment_id in ids:
        for key in chance.sample(["k", "k 2", "a.b"], 2):
            store.set_experiment_tag(experiment_id, ExperimentTag(key, chance.choice(TEXTS)))
    runs = [_create_run(store, chance, chance.choice(ids[:2]), n) for n in range(30)]
    for n in range(20):
        _create_model(store, chance, ids[0], runs[n])
    for run_id in chance.sample(runs, 4):
        store.delete_run(run_id)
    store.delete_experiment(ids[4])
    _spread_times(path / "mlflow.db", chance)
    seed = Seed(connection, new_tenant(connection))
    _copy(store, seed)
    return Both(store, seed, ids)


def _create_run(store: SqlAlchemyStore, chance: random.Random, experiment_id: str, n: int) -> str:
    name = chance.choice(["run-1", "Run-2", "a", "A", "100%", f"run {n}"])
    run = store.create_run(
        experiment_id, chance.choice(TEXTS), chance.choice([999, 1000]), [], name
    )
    run_id = run.info.run_id
    values = [0.0, 1.0, -1.0, 1.5, 1000.0, 1e300, math.inf, -math.inf, math.nan, math.nan]
    for key in chance.sample(["m", "m/1", "m.a"], chance.randrange(4)):
        store.log_metric(run_id, Metric(key, chance.choice(values), 1, 0))
    for key in chance.sample(["p", "p q", "a.b"], chance.randrange(4)):
        store.log_param(run_id, Param(key, chance.choice(TEXTS)))
    for key in chance.sample(["t", "t u", "a.b"], chance.randrange(4)):
        store.set_tag(run_id, RunTag(key, chance.choice(TEXTS)))
    for _ in range(chance.randrange(3)):
        dataset = Dataset(chance.choice(["a", "b"]), chance.choice(["1", "2"]), "s", "s")
        context = [InputTag("mlflow.data.context", chance.choice(["a", "A"]))]
        store.log_inputs(run_id, [DatasetInput(dataset, chance.choice([[], context]))])
    if chance.random() < 0.6:
        store.update_run_info(run_id, 3, chance.choice([1000, 2000]), None)
    return run_id


def _create_model(
    store: SqlAlchemyStore, chance: random.Random, experiment_id: str, run_id: str
) -> None:
    model = store.create_logged_model(
        experiment_id,
        chance.choice(["a", "A", "b", "a_b"]),
        source_run_id=chance.choice([None, run_id]),
        model_type=chance.choice([None, "a", "B"]),
        params=[LoggedModelParameter("p", chance.choice(TEXTS))],
        tags=[LoggedModelTag("t", chance.choice(TEXTS))],
    )
    for step in range(chance.randrange(4)):
        name, digest = chance.choice([(None, None), ("a", "1"), ("a", "2"), ("b", "1")])
        store.log_metric(
            run_id,
            Metric(
                chance.choice(["m", "m/1"]),
                chance.choice([0.0, 1.0, -1.0, 1.5, math.inf]),
                chance.choice([1, 2]),
                step,
                model_id=model.model_id,
                dataset_name=name,
                dataset_digest=digest,
                run_id=run_id,
            ),
        )


def _spread_times(path: Path, chance: random.Random) -> None:
    """Times that tie; the store's own all differ."""
    with sqlite3.connect(path) as database:
        for table, key, columns in (
            ("experiments", "experiment_id", ("creation_time", "last_update_time")),
            ("logged_models", "model_id", ("creation_timestamp_ms", "last_updated_timestamp_ms")),
        ):
            for (id,) in database.execute(f"SELECT {key} FROM {table}").fetchall():
                for column in columns:
                    value = chance.choice([999, 1000, 1001])
                    database.execute(
                        f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, id)
                    )


def _copy(store: SqlAlchemyStore, seed: Seed) -> None:
    experiments = store.search_experiments(ViewType.ALL, 100)
    for each in experiments:
        seed.experiment(
            int(each.experiment_id),
            each.name,
            tags=each.tags,
            artifact_location=each.artifact_location,
            creation_time=each.creation_time,
            last_update_time=each.last_update_time,
            deleted=each.lifecycle_stage == LifecycleStage.DELETED,
        )
    ids = [each.experiment_id for each in experiments]
    for each in store.search_runs(ids, "", ViewType.ALL, 1000):
        seed.run(
            each.info.run_name,
            run_id=UUID(hex=each.info.run_id),
            experiment_id=int(each.info.experiment_id),
            user_id=each.info.user_id,
            status=each.info.status,
            start_time=each.info.start_time,
            end_time=each.info.end_time,
            deleted=each.info.lifecycle_stage == LifecycleStage.DELETED,
            metrics={key: _real(value) for key, value in each.data.metrics.items()},
            params=each.data.params,
            tags=each.data.tags,
            datasets=[
                (one.dataset.name, one.dataset.digest, one.tags[0].value if one.tags else None)
                for one in each.inputs.dataset_inputs
            ],
        )
    for each in store.search_logged_models(ids, max_results=1000):
        seed.model(
            each.model_id,
            experiment_id=int(each.experiment_id),
            name=each.name,
            model_type=each.model_type,
            source_run_id=each.source_run_id,
            creation_time=each.creation_timestamp,
            last_updated_time=each.last_updated_timestamp,
            params=each.params,
            tags=each.tags,
            metrics=[
                {
                    "run_id": UUID(hex=metric.run_id),
                    "key": metric.key,
                    "value": _real(metric.value),
                    "timestamp": metric.timestamp,
                    "step": metric.step,
                    "dataset_name": metric.dataset_name,
                    "dataset_digest": metric.dataset_digest,
                }
                for metric in each.metrics or []
            ],
        )


def _real(value: float) -> float:
    """MLflow keeps an infinity as the greatest finite number; we keep it as it is."""
    return math.copysign(math.inf, value) if abs(value) > 1e308 else value


# --- searches -----------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _filters(identifiers: Sequence[str], texts: Sequence[str] = TEXTS) -> st.SearchStrategy[str]:
    quoted = st.sampled_from([*texts, *PATTERNS]).map(_quoted)
    values = st.one_of(
        st.sampled_from(NUMBERS),
        quoted,
        st.lists(quoted, min_size=1, max_size=3).map(lambda items: f"({', '.join(items)})"),
    )
    nullness = st.sampled_from(["IS NULL", "is not null"])

    def comparison(parts: tuple[str, str, str, str]) -> str:
        identifier, comparator, value, null = parts
        if comparator == "NULL":
            return f"{identifier} {null}"
        if (comparator in ("IN", "NOT IN")) != value.startswith("("):
            comparator, value = ("IN", value) if value.startswith("(") else ("=", value)
        return f"{identifier} {comparator} {value}"

    one = st.tuples(
        st.sampled_from(identifiers),
        st.sampled_from([*COMPARATORS, *COMPARATORS[:6], "NULL"]),
        values,
        nullness,
    ).map(comparison)
    return st.lists(one, max_size=3).map(" AND ".join)


def _orders(identifiers: Sequence[str]) -> st.SearchStrategy[list[str]]:
    one = st.tuples(st.sampled_from(identifiers), st.sampled_from(["", " ASC", " desc"]))
    return st.lists(one.map("".join), max_size=3)


VIEWS = st.sampled_from(["ACTIVE_ONLY", "DELETED_ONLY", "ALL"])

RUN_IDENTIFIERS = [
    *("metrics.m", "metric.`m/1`", 'metrics."m.a"', "metrics.m.a", "metrics.none"),
    *("params.p", "param.`p q`", "parameters.a.b", "tags.t", 'tag."t u"', "tags.a.b", "tags.none"),
    *("tags.mlflow.runName", "run_name", "attributes.`Run Name`", "attr.status", "run.user_id"),
    *("start_time", "Created", "attribute.end_time", "artifact_uri", "run_id", "dataset.name"),
    *("datasets.digest", "dataset.context", "dataset.x", "experiment_id", "what.x", "metrics.a-b"),
]
EXPERIMENT_IDENTIFIERS = [
    *("name", "attribute.name", "experiment_id", "creation_time", "last_update_time"),
    *("tags.k", "tag.`k 2`", "tags.a.b", "tags.none", "attributes.name", "start_time"),
]
MODEL_IDENTIFIERS = [
    *("name", "model_type", "model_id", "source_run_id", "creation_time", "creation_timestamp"),
    *("last_updated_timestamp", "params.p", "tags.t", "tags.none", "metrics.m", "metrics.m/1"),
    *("metrics.`m/1`", "param.p", "attributes.name"),
]


@EXAMPLES
@given(_filters(RUN_IDENTIFIERS), _orders(RUN_IDENTIFIERS), VIEWS)
def test_runs(both: Both, filter: str, order_by: list[str], view: Any) -> None:
    ids = both.experiment_ids[:2]

    def theirs() -> list[UUID]:
        found = both.store.search_runs(
            ids, filter, ViewType.from_string(view.lower()), 100, order_by
        )
        return [UUID(hex=run.info.run_id) for run in found]

    def ours() -> list[UUID]:
        page = search_runs(
            both.seed.tenant,
            [int(id) for id in ids],
            filter=filter,
            order_by=order_by,
            view=view,
            limit=100,
        )
        return both.seed.ids(page)

    # Which of two mistakes comes first is not for us to copy.
    both.compare(theirs, ours, words=not (filter and order_by))


@EXAMPLES
@given(_filters(EXPERIMENT_IDENTIFIERS), _orders(EXPERIMENT_IDENTIFIERS), VIEWS)
def test_experiments(both: Both, filter: str, order_by: list[str], view: Any) -> None:
    def theirs() -> list[int]:
        found = both.store.search_experiments(
            ViewType.from_string(view.lower()), 100, filter, order_by
        )
        return [int(each.experiment_id) for each in found]

    def ours() -> list[int]:
        page = search_experiments(
            both.seed.tenant, filter=filter, order_by=order_by, view=view, limit=100
        )
        return both.seed.ids(page)

    # Which of two mistakes comes first is not for us to copy.
    both.compare(theirs, ours, words=not (filter and order_by))


# For models, MLflow takes double quotes for a part of the value; we do not.
MODEL_TEXTS = [text for text in TEXTS if "'" not in text]
MODEL_FIELDS = [
    *("name", "model_type", "model_id", "creation_time", "creation_timestamp", "source_run_id"),
    *("last_updated_timestamp", "metrics.m", "metrics.m/1", "metrics.none", "params.p"),
]


@EXAMPLES
@given(
    _filters(MODEL_IDENTIFIERS, MODEL_TEXTS),
    st.lists(
        st.builds(
            ModelOrder,
            st.sampled_from(MODEL_FIELDS),
            st.booleans(),
            st.sampled_from([None, "a"]),
            st.sampled_from([None, "1"]),
        ),
        max_size=3,
    ),
    st.lists(st.builds(DatasetFilter, st.sampled_from("ab"), st.sampled_from([None, "1"]))),
)
def test_logged_models(
    both: Both, filter: str, order_by: list[ModelOrder], datasets: list[DatasetFilter]
) -> None:
    ids = both.experiment_ids[:1]

    def theirs() -> list[str]:
        found = both.store.search_logged_models(
            ids,
            filter,
            # Without a digest, MLflow's client leaves it out.
            [{k: v for k, v in asdict(each).items() if v is not None} for each in datasets],
            100,
            [asdict(each) for each in order_by],
        )
        return [each.model_id for each in found]

    def ours() -> list[str]:
        page = search_logged_models(
            both.seed.tenant,
            [int(id) for id in ids],
            filter=filter,
            order_by=order_by,
            datasets=datasets,
            limit=100,
        )
        return both.seed.ids(page)

    # Which of two mistakes comes first is not for us to copy.
    both.compare(theirs, ours, words=not (filter and order_by))
