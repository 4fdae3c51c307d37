"""Random histories of logged models, and of the model registry."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.contract.parity.cases import calls, logged_models, registry
from tests.contract.parity.histories import (
    EXAMPLES,
    KEYS,
    PLACES,
    TIMES,
    VALUES,
    History,
    Record,
    play,
)
from tests.contract.parity.normalize import Pair, Side

SMALL = st.dictionaries(KEYS, VALUES, max_size=2)

MODEL_FILTERS = st.sampled_from(
    [
        "",
        "name = 'a'",
        "name LIKE '%b'",
        "model_type = 'agent'",
        "status = 'READY'",
        "params.k = '1'",
        "params.`x y` != '1'",
        "tags.k = '2'",
        "tags.`k/2` ILIKE '%S'",
        "metrics.k > 0",
        "metrics.k <= 1 AND name = 'a'",
        "tags.k IS NULL",
        "name IN ('a', 'b')",
        "metrics.k = 'a'",
        "params.k > '1'",
    ]
)
MODEL_ORDERS = st.sampled_from(["name", "metrics.k", "creation_timestamp", "model_type", "status"])
STATUSES = st.sampled_from(["LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED", 1])
DATASETS = st.sampled_from([None, ("d", "1"), ("d", "2")])


class LoggedModelHistories(History):
    """Models are kept as `m0` and so on, of two experiments with a run each."""

    def __init__(self) -> None:
        super().__init__()
        self.models = self.params = 0
        self.deleted: set[str] = set()
        self.logged: set[tuple[str, str, int, int]] = set()

    def model(self, place: int) -> str:
        return f"$m{place % self.models}" if self.models else logged_models.ABSENT

    @initialize()
    def begin(self) -> None:
        for side in (self.pair.theirs, self.pair.ours):
            side.kept["e0"] = "0"
        self.call(calls.create_experiment("other", keep="e1"))
        self.call(calls.create_run("r", keep="r0"))
        self.call(calls.create_run("r", keep="r1", experiment_id="$e1"))

    @rule(
        name=st.sampled_from(["a", "b", "A b", "", "a/b"]),
        experiment=st.integers(0, 1),
        kind=st.sampled_from(["", "agent"]),
        run=st.sampled_from(["", "$r0", "$r1"]),
        params=SMALL,
        tags=SMALL,
    )
    def create(
        self,
        name: str,
        experiment: int,
        kind: str,
        run: str,
        params: dict[str, str],
        tags: dict[str, str],
    ) -> None:
        answer = self.pair.call(
            logged_models.create_model(
                name,
                keep=f"m{self.models}",
                experiment_id=f"$e{experiment}",
                model_type=kind,
                source_run_id=run,
                params=calls.tags(**params),
                tags=calls.tags(**tags),
            ),
            may_fail=True,
        )
        self.models += answer.status == 200

    @rule(place=PLACES, status=STATUSES)
    def finalize(self, place: int, status: str | int) -> None:
        self.call(logged_models.finalize(status, self.model(place)))

    @rule(place=PLACES, tags=SMALL)
    def set_tags(self, place: int, tags: dict[str, str]) -> None:
        self.through_client(
            "PATCH logged-models/x/tags",
            lambda client, side: client.set_logged_model_tags(self.id_of(place, side), tags),
        )

    @rule(place=PLACES, key=st.sampled_from(["k", "x y"]))
    def delete_tag(self, place: int, key: str) -> None:
        self.through_client(
            "DELETE logged-models/x/tags/x",
            lambda client, side: client.delete_logged_model_tag(self.id_of(place, side), key),
        )

    @rule(place=PLACES, value=VALUES)
    def log_params(self, place: int, value: str) -> None:
        """Of a name that the model does not have yet; MLflow fails in its database for others."""
        model, self.params = self.model(place), self.params + 1
        body = {"model_id": model, "params": calls.tags(**{f"p{self.params}": value})}
        self.call(calls.post(f"logged-models/{model}/params", **body))

    @rule(
        place=PLACES,
        run=st.sampled_from(["$r0", "$r1"]),
        value=st.sampled_from([0.0, 1.0, -1.5, 2.0]),
        timestamp=TIMES,
        step=TIMES,
        dataset=DATASETS,
    )
    def log_metric(
        self,
        place: int,
        run: str,
        value: float,
        timestamp: int,
        step: int,
        dataset: tuple[str, str] | None,
    ) -> None:
        if self.model(place) in {logged_models.ABSENT} | self.deleted:
            return  # MLflow logs it for the run, or even for the model that is gone
        point = (self.model(place), run, timestamp, step)
        if point in self.logged:
            return  # MLflow fails in its database; here the later value counts
        self.logged.add(point)
        on = {"dataset_name": dataset[0], "dataset_digest": dataset[1]} if dataset else {}
        fields = {"model_id": self.model(place)} | on
        self.call(calls.log_metric("k", value, timestamp, step, run, **fields))

    @rule(place=PLACES)
    def delete(self, place: int) -> None:
        self.call(calls.delete(f"logged-models/{self.model(place)}"))
        self.deleted.add(self.model(place))

    @rule(place=PLACES, deleted=st.booleans())
    def get(self, place: int, deleted: bool) -> None:
        query = {"allow_deleted": "true"} if deleted else {}
        self.call(logged_models.get_model(self.model(place), **query))

    @rule(action=st.sampled_from(["delete", "restore"]))
    def archive_experiment(self, action: str) -> None:
        self.call(calls.post(f"experiments/{action}", experiment_id="$e1"))

    @rule(
        filter=MODEL_FILTERS,
        order=MODEL_ORDERS,
        ascending=st.booleans(),
        dataset=DATASETS,
        size=st.sampled_from([1, 10]),
    )
    def search(
        self,
        filter: str,
        order: str,
        ascending: bool,
        dataset: tuple[str, str] | None,
        size: int,
    ) -> None:
        on = {"dataset_name": dataset[0], "dataset_digest": dataset[1]} if dataset else {}
        self.call(
            logged_models.search(
                filter,
                experiment_ids=["$e0", "$e1"],
                order_by=[{"field_name": order, "ascending": ascending}],
                datasets=[on] if on else [],
                max_results=size,
            )
        )

    def id_of(self, place: int, side: Side) -> str:
        model = self.model(place)
        return side.kept.get(model[1:], model)

    def teardown(self) -> None:
        for place in range(self.models):
            self.call(logged_models.get_model(f"$m{place}", allow_deleted="true"))
        self.call(logged_models.search(experiment_ids=["$e0", "$e1"]))
        for run in ("$r0", "$r1"):
            self.call(calls.get_run(run))


NAMES = st.sampled_from(["a", "b", "B", "ä b"])
VERSIONS = st.sampled_from(["1", "2", "3"])
ALIASES = st.sampled_from(["best", "Best", "old"])
STAGES = st.sampled_from(["None", "staging", "Production", "Archived", "what"])
REGISTRY_FILTERS = st.sampled_from(
    ["", "name = 'a'", "name LIKE 'a%'", "name ILIKE 'b'", "tags.k = '1'", "tags.`x y` != '1'"]
)
VERSION_FILTERS = st.sampled_from(
    [
        "",
        "name = 'b'",
        "name LIKE '%b'",
        "name ILIKE '%B'",
        "version_number > 1",
        "version_number != 2",
        "source_path = 's3://bucket/model'",
        "source_path LIKE 's3%'",
        "tags.k = '1'",
        "tags.k != '1'",
        "name IN ('a', 'b')",
        "run_id IN ('x')",
        "version_number = 'x'",
    ]
)
# With the order that is refused, no filter that is, too: which mistake is told first is not held.
VERSION_SEARCHES = st.tuples(
    VERSION_FILTERS,
    st.sampled_from(["name", "name DESC", "version_number DESC", "creation_timestamp"]),
) | st.just(("", "source_path"))


class RegistryHistories(History):
    """Models are called by their names, and versions by their numbers, some of which are none's."""

    @rule(name=NAMES, tags=SMALL, description=st.sampled_from(["", "text"]))
    def create_model(self, name: str, tags: dict[str, str], description: str) -> None:
        self.call(registry.create_model(name, tags=calls.tags(**tags), description=description))

    @rule(name=NAMES, new=NAMES)
    def rename_model(self, name: str, new: str) -> None:
        self.call(calls.post("registered-models/rename", name=name, new_name=new))

    @rule(name=NAMES, description=st.sampled_from(["", "other"]))
    def describe_model(self, name: str, description: str) -> None:
        self.through_client(
            "PATCH registered-models/update",
            lambda client, _: _shown(client.update_registered_model(name, description)),
        )

    @rule(name=NAMES)
    def delete_model(self, name: str) -> None:
        self.call(calls.delete("registered-models/delete", name=name))

    @rule(name=NAMES, key=KEYS, value=VALUES)
    def tag_model(self, name: str, key: str, value: str) -> None:
        self.call(calls.post("registered-models/set-tag", name=name, key=key, value=value))

    @rule(name=NAMES, key=KEYS)
    def untag_model(self, name: str, key: str) -> None:
        self.call(calls.delete("registered-models/delete-tag", name=name, key=key))

    @rule(name=NAMES, source=st.sampled_from(["s3://bucket/model", "s3://other/x"]), tags=SMALL)
    def create_version(self, name: str, source: str, tags: dict[str, str]) -> None:
        self.call(registry.create_version(name, source=source, tags=calls.tags(**tags)))

    @rule(name=NAMES, source=NAMES, version=VERSIONS)
    def copy_version(self, name: str, source: str, version: str) -> None:
        self.call(registry.create_version(name, source=f"models:/{source}/{version}"))

    @rule(name=NAMES, version=VERSIONS, description=st.sampled_from(["", "other"]))
    def describe_version(self, name: str, version: str, description: str) -> None:
        self.through_client(
            "PATCH model-versions/update",
            lambda client, _: _shown(client.update_model_version(name, version, description)),
        )

    @rule(name=NAMES, version=VERSIONS)
    def delete_version(self, name: str, version: str) -> None:
        self.call(calls.delete("model-versions/delete", name=name, version=version))

    @rule(name=NAMES, version=VERSIONS, key=KEYS, value=VALUES)
    def tag_version(self, name: str, version: str, key: str, value: str) -> None:
        fields = {"name": name, "version": version, "key": key, "value": value}
        self.call(calls.post("model-versions/set-tag", **fields))

    @rule(name=NAMES, version=VERSIONS, key=KEYS)
    def untag_version(self, name: str, version: str, key: str) -> None:
        fields = {"name": name, "version": version, "key": key}
        self.call(calls.delete("model-versions/delete-tag", **fields))

    @rule(name=NAMES, version=VERSIONS, stage=STAGES, archive=st.booleans())
    def transition(self, name: str, version: str, stage: str, archive: bool) -> None:
        fields = {"name": name, "version": version, "stage": stage}
        self.call(
            calls.post(
                "model-versions/transition-stage", **fields, archive_existing_versions=archive
            )
        )

    @rule(name=NAMES, alias=ALIASES, version=VERSIONS)
    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.through_client(
            "POST registered-models/alias",
            lambda client, _: client.set_registered_model_alias(name, alias, version),
        )

    @rule(name=NAMES, alias=ALIASES)
    def delete_alias(self, name: str, alias: str) -> None:
        self.call(calls.delete("registered-models/alias", name=name, alias=alias))

    @rule(name=NAMES, alias=ALIASES)
    def get_by_alias(self, name: str, alias: str) -> None:
        self.call(calls.get("registered-models/alias", name=name, alias=alias))

    @rule(name=NAMES, version=VERSIONS)
    def get(self, name: str, version: str) -> None:
        self.call(registry.get_model(name))
        self.call(registry.get_version(version, name))
        self.call(calls.get("model-versions/get-download-uri", name=name, version=version))

    @rule(name=NAMES, stages=st.lists(STAGES, max_size=2))
    def latest(self, name: str, stages: list[str]) -> None:
        self.call(calls.post("registered-models/get-latest-versions", name=name, stages=stages))

    @rule(
        filter=REGISTRY_FILTERS,
        order=st.sampled_from(["name", "name DESC", "last_updated_timestamp DESC"]),
        size=st.sampled_from([1, 10]),
    )
    def search(self, filter: str, order: str, size: int) -> None:
        self.call(registry.find(filter=filter, order_by=order, max_results=size))

    @rule(search=VERSION_SEARCHES, size=st.sampled_from([1, 10]))
    def search_versions(self, search: tuple[str, str], size: int) -> None:
        filter, order = search
        self.call(registry.find_versions(filter=filter, order_by=order, max_results=size))

    def teardown(self) -> None:
        self.call(registry.find())
        self.call(registry.find_versions())
        for name in ("a", "b", "B", "ä b"):
            self.call(registry.get_model(name))


def _shown(entity: Any) -> dict[str, Any]:
    """What the client made of an answer; its lists and dates as they are."""
    return {name: value for name, value in dict(entity).items() if _plain(value)}


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


@pytest.mark.timeout(0 if EXAMPLES else 180)
@pytest.mark.parametrize("history", [LoggedModelHistories, RegistryHistories])
def test_random_histories(
    history: type[History],
    empty_pair: Callable[[], Pair],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Record,
) -> None:
    play(history, 10, empty_pair, monkeypatch, record_property)
