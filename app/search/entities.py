"""What can be searched for, and by what: a table of the searchable entities.

To make another entity searchable, describe it here. The rules are those of MLflow 3.17's SQL
store (mlflow.utils.search_utils, mlflow.utils.search_logged_model_utils); so is the wording.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Table, Text, case, cast, func, literal, select

from app.kernel.tenant import TENANT_TAG, Tenant
from app.search.child_tables import Attached, ModelMetrics, Pairs, RunDatasets
from app.search.predicates import EQUALITY, MEMBERSHIP, NULLNESS, ORDERING, PATTERN, run_id_text
from app.search.tables import (
    experiment_tags,
    experiments,
    logged_model_params,
    logged_model_tags,
    logged_models,
    metric_series,
    model_version_tags,
    model_versions,
    params,
    registered_model_tags,
    registered_models,
    run_tags,
    runs,
)


class Kind(StrEnum):
    ATTRIBUTE = "attribute"
    METRIC = "metric"
    PARAM = "parameter"
    TAG = "tag"
    DATASET = "dataset"


# `integer` compares with any number and `whole` only with whole ones; `experiment_id` is a number
# that is written as a text, and `whole_or_text` one that may be.
Type = Literal["text", "integer", "whole", "whole_or_text", "run_id", "experiment_id"]

_COMPARATORS: Mapping[Type, frozenset[str]] = {
    "text": PATTERN | MEMBERSHIP,
    "integer": ORDERING,
    "whole": ORDERING,
    "whole_or_text": ORDERING,
    "run_id": PATTERN | MEMBERSHIP,
    "experiment_id": EQUALITY | MEMBERSHIP,
}


@dataclass(frozen=True)
class Attribute:
    """A value that each entity has one of, or none where it is nullable."""

    name: str
    expression: Callable[[Tenant], ColumnElement[Any]]
    type: Type = "text"
    nullable: bool = False

    @property
    def comparators(self) -> frozenset[str]:
        return _COMPARATORS[self.type]


@dataclass(frozen=True)
class Wording:
    """How MLflow puts its errors, which differs from entity to entity. Templates of str.format."""

    prefix: str
    comparator: str
    nullness: str
    order: str = "Invalid order_by entity: {kind}"
    order_key: str = "attribute"
    attribute: str = "Expected a quoted string value for attributes. Got value {shown}"


@dataclass(frozen=True)
class Entity:
    """
    `prefixes` maps what stands before the first dot of an identifier to what is meant;
    `attributes` and `orders` map the names one can filter and sort by, aliases included.
    `listable` are the attributes that take IN. `order_kinds` are the collections one can sort by.
    `tags` are those that are not stored as tags.
    `unquoted`: a text may be compared with a number or a word, and `/` and `-` may stand in a
    key, without quotes. `comparators_first`: a comparator is checked before its value is.
    """

    name: str
    table: Table
    id: Column[Any]
    prefixes: Mapping[str, Kind]
    attributes: Mapping[str, Attribute]
    orders: Mapping[str, Attribute]
    attached: Mapping[Kind, Attached]
    comparators: Mapping[Kind, frozenset[str]]
    listable: frozenset[str]
    wording: Wording
    order_kinds: frozenset[Kind] = frozenset()
    repeatable_orders: bool = True
    tags: Mapping[str, Attribute] = field(default_factory=dict)
    unquoted: bool = False
    comparators_first: bool = False


TENANT = Attribute(TENANT_TAG, lambda tenant: literal(tenant.slug, Text))


def _of(column: Column[Any], type: Type = "text") -> Attribute:
    return Attribute(column.name, lambda tenant: column, type, bool(column.nullable))


def _artifact_uri(tenant: Tenant) -> ColumnElement[str]:
    """`app.kernel.artifact_uris.run_artifact_uri`, in SQL."""
    location = (
        select(func.rtrim(func.nullif(experiments.c.artifact_location, ""), "/"))
        .where(
            experiments.c.tenant_id == tenant.id,
            experiments.c.experiment_id == runs.c.experiment_id,
        )
        .scalar_subquery()
    )
    served = func.concat(
        "mlflow-artifacts:/experiments/", cast(runs.c.experiment_id, Text), "/runs"
    )
    return func.concat(
        func.coalesce(location, served), "/", run_id_text(runs.c.run_id), "/artifacts"
    )


_RUN_NAME = Attribute("run_name", lambda tenant: runs.c.name)
_START_TIME = _of(runs.c.start_time, "integer")
_RUN_ATTRIBUTES = {
    "run_id": _of(runs.c.run_id, "run_id"),
    "run_name": _RUN_NAME,
    "user_id": _of(runs.c.user_id),
    "status": _of(runs.c.status),
    "start_time": _START_TIME,
    "end_time": _of(runs.c.end_time, "integer"),
    "artifact_uri": Attribute("artifact_uri", _artifact_uri),
    "created": _START_TIME,
    "Created": _START_TIME,
}

_TAGS_OR_PARAMS = PATTERN | NULLNESS

RUNS = Entity(
    name="runs",
    table=runs,
    id=runs.c.run_id,
    prefixes={
        **dict.fromkeys(("attribute", "attributes", "attr", "run"), Kind.ATTRIBUTE),
        **dict.fromkeys(("metric", "metrics"), Kind.METRIC),
        **dict.fromkeys(("parameter", "parameters", "param", "params"), Kind.PARAM),
        **dict.fromkeys(("tag", "tags"), Kind.TAG),
        **dict.fromkeys(("dataset", "datasets"), Kind.DATASET),
    },
    attributes={
        **_RUN_ATTRIBUTES,
        **dict.fromkeys(("run name", "Run name", "Run Name"), _RUN_NAME),
    },
    orders=_RUN_ATTRIBUTES,
    attached={
        Kind.METRIC: Pairs(metric_series, "run_id", "last_value"),
        Kind.PARAM: Pairs(params, "run_id", "value"),
        Kind.TAG: Pairs(run_tags, "run_id", "value"),
        Kind.DATASET: RunDatasets(),
    },
    comparators={
        Kind.METRIC: ORDERING,
        Kind.PARAM: _TAGS_OR_PARAMS,
        Kind.TAG: _TAGS_OR_PARAMS,
        Kind.DATASET: PATTERN | MEMBERSHIP,
    },
    listable=frozenset({"run_id"}),
    wording=Wording(
        prefix="Invalid entity type '{prefix}'."
        " Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
        comparator="Invalid comparator '{comparator}' not one of '{{{allowed}}}'",
        nullness="IS NULL / IS NOT NULL is only supported for tags and params,"
        " not for '{kind}' '{written}'",
        order="Invalid identifier type '{kind}'",
    ),
    order_kinds=frozenset({Kind.METRIC, Kind.PARAM, Kind.TAG}),
    repeatable_orders=False,
    tags={"mlflow.runName": _RUN_NAME},
)

_EXPERIMENT_ATTRIBUTES = {
    "name": _of(experiments.c.name),
    "experiment_id": _of(experiments.c.experiment_id, "experiment_id"),
    "creation_time": _of(experiments.c.creation_time, "whole"),
    "last_update_time": _of(experiments.c.last_update_time, "whole"),
}

EXPERIMENTS = Entity(
    name="experiments",
    table=experiments,
    id=experiments.c.experiment_id,
    prefixes={"attribute": Kind.ATTRIBUTE, "tag": Kind.TAG, "tags": Kind.TAG},
    attributes=_EXPERIMENT_ATTRIBUTES,
    orders=_EXPERIMENT_ATTRIBUTES,
    attached={Kind.TAG: Pairs(experiment_tags, "experiment_id", "value")},
    comparators={Kind.TAG: _TAGS_OR_PARAMS},
    listable=frozenset({"experiment_id"}),
    wording=Wording(
        prefix="Invalid entity type '{prefix}'."
        " Valid entity types are ('attribute', 'tag', 'tags')",
        comparator="Invalid comparator '{comparator}' not one of '{{{allowed}}}'",
        nullness="IS NULL / IS NOT NULL is only supported for tags, not for {kind} '{written}'",
    ),
)


def _model_status(tenant: Tenant) -> ColumnElement[str]:
    # As MLflow's client names them.
    names = {
        "LOGGED_MODEL_PENDING": "PENDING",
        "LOGGED_MODEL_READY": "READY",
        "LOGGED_MODEL_UPLOAD_FAILED": "FAILED",
    }
    return case(names, value=logged_models.c.status, else_="UNSPECIFIED")


# The columns' names in MLflow's tables are names that one can use, and those its errors show.
_CREATION = replace(_of(logged_models.c.creation_time, "integer"), name="creation_timestamp_ms")
_UPDATE = replace(
    _of(logged_models.c.last_updated_time, "integer"), name="last_updated_timestamp_ms"
)
_MODEL_ATTRIBUTES = {
    "model_id": _of(logged_models.c.model_id),
    "name": _of(logged_models.c.name),
    "model_type": _of(logged_models.c.model_type),
    "source_run_id": _of(logged_models.c.source_run_id),
    "status": Attribute("status", _model_status),
    "experiment_id": _of(logged_models.c.experiment_id, "experiment_id"),
    **dict.fromkeys(("creation_time", "creation_timestamp", "creation_timestamp_ms"), _CREATION),
    **dict.fromkeys(
        ("last_updated_time", "last_updated_timestamp", "last_updated_timestamp_ms"), _UPDATE
    ),
}

_INVALID_OPERATOR = (
    "Invalid comparison operator for {kind}.{key}: '{comparator}'. Expected one of ({allowed})."
)

LOGGED_MODELS = Entity(
    name="logged_models",
    table=logged_models,
    id=logged_models.c.model_id,
    prefixes={
        "attributes": Kind.ATTRIBUTE,
        "metrics": Kind.METRIC,
        "params": Kind.PARAM,
        "tags": Kind.TAG,
    },
    attributes=_MODEL_ATTRIBUTES,
    # In MLflow's tables the statuses are numbers, in the order of these names.
    orders={**_MODEL_ATTRIBUTES, "status": _of(logged_models.c.status)},
    attached={
        Kind.METRIC: ModelMetrics(),
        Kind.PARAM: Pairs(logged_model_params, "model_id", "value"),
        Kind.TAG: Pairs(logged_model_tags, "model_id", "value"),
    },
    comparators={
        Kind.METRIC: ORDERING,
        Kind.PARAM: PATTERN | MEMBERSHIP,
        Kind.TAG: PATTERN | MEMBERSHIP,
    },
    listable=frozenset(_MODEL_ATTRIBUTES),
    wording=Wording(
        prefix="Invalid entity type: '{prefix}'."
        " Expected one of ['attributes', 'metrics', 'params', 'tags'].",
        comparator=_INVALID_OPERATOR,
        nullness=_INVALID_OPERATOR,
    ),
    unquoted=True,
    comparators_first=True,
)

# In MLflow both names of the time are the time of the last change.
_MODEL_UPDATE = replace(
    _of(registered_models.c.last_updated_time, "integer"), name="last_updated_timestamp"
)
_REGISTRY_COMPARATOR = "Invalid comparator for {kind}: {comparator}"
_REGISTRY_PREFIXES = {"attribute": Kind.ATTRIBUTE, "tag": Kind.TAG, "tags": Kind.TAG}
_REGISTRY_PREFIX = (
    "Invalid entity type '{prefix}'. Valid entity types are ('attribute', 'tag', 'tags')"
)

REGISTERED_MODELS = Entity(
    name="registered_models",
    table=registered_models,
    id=registered_models.c.registered_model_id,
    prefixes=_REGISTRY_PREFIXES,
    attributes={"name": _of(registered_models.c.name)},
    orders={
        "name": _of(registered_models.c.name),
        "timestamp": _MODEL_UPDATE,
        "last_updated_timestamp": _MODEL_UPDATE,
    },
    attached={Kind.TAG: Pairs(registered_model_tags, "registered_model_id", "value")},
    comparators={Kind.TAG: PATTERN},
    listable=frozenset({"name"}),
    wording=Wording(
        prefix=_REGISTRY_PREFIX,
        comparator=_REGISTRY_COMPARATOR,
        nullness=_REGISTRY_COMPARATOR,
        order="Invalid order by key '{key}' specified.",
        order_key="order by",
        attribute="Expected a quoted string value or a list of quoted string values for"
        " attributes. Got value {shown}",
    ),
    repeatable_orders=False,
)

_VERSION = replace(_of(model_versions.c.version, "whole_or_text"), name="version_number")

# The name is the registered model's: whoever searches for versions joins it.
MODEL_VERSIONS = Entity(
    name="model_versions",
    table=model_versions,
    id=model_versions.c.version_id,
    prefixes=_REGISTRY_PREFIXES,
    attributes={
        "name": _of(registered_models.c.name),
        "version_number": _VERSION,
        "run_id": _of(model_versions.c.run_id),
        "source_path": replace(_of(model_versions.c.source), name="source_path"),
    },
    orders={
        "name": _of(registered_models.c.name),
        "version_number": _VERSION,
        "creation_timestamp": _of(model_versions.c.creation_time, "integer"),
        "last_updated_timestamp": _of(model_versions.c.last_updated_time, "integer"),
    },
    attached={Kind.TAG: Pairs(model_version_tags, "version_id", "value")},
    comparators={Kind.TAG: PATTERN},
    listable=frozenset({"name", "run_id"}),
    wording=Wording(
        prefix=_REGISTRY_PREFIX,
        comparator=_REGISTRY_COMPARATOR,
        nullness=_REGISTRY_COMPARATOR,
        order="Invalid order by key '{key}' specified.",
        attribute="Only the '{{'creation_timestamp', 'last_updated_timestamp', 'version_number'}}'"
        " attributes support comparison with numeric values.",
    ),
    repeatable_orders=False,
)
