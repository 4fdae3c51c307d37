"""The rules for what is logged to a run, and for its name."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from app.kernel import validation
from app.kernel.errors import ConflictError, InvalidValueError, RunNotFoundError
from app.kernel.field_names import check_params, check_tags, cut
from app.kernel.ids import parse_run_id
from app.kernel.random_names import random_name
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.metrics.entities import Point
from app.runs.entities import LOGGED_MODELS_TAG, RUN_NAME_TAG, RunWrite

# Of the model id, the dataset name and the dataset digest of a point, in characters.
MAX_REFERENCE_LENGTH = 500


def check_write(write: RunWrite, max_value_length: int) -> None:
    """Raises InvalidValueError for the first key or value that breaks a rule.

    Longer values are cut. An empty run name is dropped from the write: as in MLflow, a run keeps
    its name then. So is the tag that is derived from the tenant.
    """
    validation.batch(write.points, write.params, write.tags)
    checked: set[str] = set()
    field = write.field_names.item
    # A field's name is composed only where there is something to check: most points need no more
    # than the comparisons.
    for index, point in enumerate(write.points):
        if point.key not in checked:
            # As in MLflow, a key that is missing is called a key, and one that is wrong a name.
            part = "name" if point.key else "key"
            name = field("metrics", index, point.key, part)
            validation.key(point.key, name, called="Metric name")
            checked.add(point.key)
        if not (0 <= point.timestamp <= INT64_MAX and INT64_MIN <= point.step <= INT64_MAX):
            _check_range(point, partial(field, "metrics", index, point.key))
        if point.model_id or point.dataset_name or point.dataset_digest:
            _check_model_and_dataset(point, partial(field, "metrics", index, point.key))
    if write.params:
        check_params(write.params, write.field_names, max_value_length)
    if write.tags:
        check_tags(write.tags, write.field_names, max_value_length, cuts=True)
    if write.tags.get(RUN_NAME_TAG) == "":
        del write.tags[RUN_NAME_TAG]


def _check_range(point: Point, field: Callable[[str], str]) -> None:
    """Raises InvalidValueError for a timestamp or a step out of range."""
    if not 0 <= point.timestamp <= INT64_MAX:
        raise validation.invalid(
            field("timestamp"),
            point.timestamp,
            f"metric '{point.key}' (value={point.value})."
            " Timestamp must be a nonnegative long (64-bit integer) ",
        )
    validation.int64(point.step, field("step"))


def _check_model_and_dataset(point: Point, field: Callable[[str], str]) -> None:
    """Check the logged model and the dataset that a point was measured on."""
    for name in ("model_id", "dataset_name", "dataset_digest"):
        validation.text(getattr(point, name) or "", field(name), MAX_REFERENCE_LENGTH)
    if bool(point.dataset_name) != bool(point.dataset_digest):
        raise InvalidValueError(
            "Both dataset_name and dataset_digest must be provided if one is provided",
            field=field("dataset_digest" if point.dataset_name else "dataset_name"),
        )


def run_name(name: str, field: str, max_length: int) -> str:
    """The name as stored: it is a tag's value, too. Raises InvalidValueError."""
    validation.text(name, field)
    return cut("tag", RUN_NAME_TAG, name, max_length) if len(name) > max_length else name


def new_name(name: str, tag: str, field: str, max_length: int) -> str:
    """The name of a new run: the one given, that of the tag `mlflow.runName`, or a random one.

    Raises InvalidValueError where both are given and differ.
    """
    name = run_name(name, field, max_length)
    if name and tag and name != tag:
        raise InvalidValueError(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different"
            f" values (run_name='{name}', mlflow.runName='{tag}').",
            field=field,
        )
    return name or tag or random_name()


def recorded_models(tag: str) -> list[Any]:
    """The models in a run's tag `mlflow.log-model.history`, where MLflow 2's clients list them.

    Raises ConflictError where the tag holds something else.
    """
    with suppress(ValueError, RecursionError):
        models = json.loads(tag)
        if isinstance(models, list):
            return models
    raise ConflictError(
        f"The tag '{LOGGED_MODELS_TAG}' of the run does not hold a list of models",
        field=LOGGED_MODELS_TAG,
    )


def run_uuid(run_id: str) -> UUID:
    """The id as stored. Raises RunNotFoundError for a string that cannot be a run's id."""
    number = parse_run_id(run_id)
    if number is None:
        raise RunNotFoundError(run_id)
    return number
