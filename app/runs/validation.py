"""The rules for what is logged to a run, and for its name."""

import json
from contextlib import suppress
from typing import Any
from uuid import UUID

from app.kernel import validation
from app.kernel.errors import ConflictError, InvalidValueError, RunNotFoundError
from app.kernel.ids import parse_run_id
from app.kernel.random_names import random_name
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.metrics.entities import Point
from app.runs.entities import LOGGED_MODELS_TAG, RUN_NAME_TAG, RunWrite

# Of the model id, the dataset name and the dataset digest of a point, in characters.
MAX_REFERENCE_LENGTH = 500


def check_write(write: RunWrite) -> None:
    """Raises InvalidValueError for the first key or value that breaks a rule.

    An empty run name is dropped from the write: as in MLflow, a run keeps its name then.
    """
    validation.batch(write.points, write.params, write.tags)
    checked: set[str] = set()
    # A field's path is composed only where there is something to check: most points need no more
    # than the comparisons.
    for index, point in enumerate(write.points):
        if point.key not in checked:
            place = _place(write, "metrics", index)
            validation.key(point.key, f"{place}key", called="Metric name")
            checked.add(point.key)
        if not (0 <= point.timestamp <= INT64_MAX and INT64_MIN <= point.step <= INT64_MAX):
            _check_range(point, _place(write, "metrics", index))
        if point.model_id or point.dataset_name or point.dataset_digest:
            _check_model_and_dataset(point, _place(write, "metrics", index))
    for index, (key, value) in enumerate(write.params.items()):
        validation.param(key, value, _place(write, "params", index))
    for index, (key, value) in enumerate(write.tags.items()):
        validation.tag(key, value, _place(write, "tags", index))
    if write.tags.get(RUN_NAME_TAG) == "":
        del write.tags[RUN_NAME_TAG]


def _place(write: RunWrite, items: str, index: int) -> str:
    """What an item's fields are prefixed with in errors."""
    return "" if write.single else f"{items}[{index}]."


def _check_range(point: Point, place: str) -> None:
    """Raises InvalidValueError for a timestamp or a step out of range."""
    if not 0 <= point.timestamp <= INT64_MAX:
        raise validation.invalid(
            f"{place}timestamp",
            point.timestamp,
            f"metric '{point.key}' (value={point.value})."
            " Timestamp must be a nonnegative long (64-bit integer) ",
        )
    validation.int64(point.step, f"{place}step")


def _check_model_and_dataset(point: Point, place: str) -> None:
    """Check the logged model and the dataset that a point was measured on."""
    for name in ("model_id", "dataset_name", "dataset_digest"):
        validation.text(getattr(point, name) or "", f"{place}{name}", MAX_REFERENCE_LENGTH)
    if bool(point.dataset_name) != bool(point.dataset_digest):
        raise InvalidValueError(
            "Both dataset_name and dataset_digest must be provided if one is provided",
            field=f"{place}dataset_digest" if point.dataset_name else f"{place}dataset_name",
        )


def new_name(name: str, tag: str) -> str:
    """The name of a new run: the one given, that of the tag `mlflow.runName`, or a random one.

    Raises InvalidValueError where both are given and differ, or the name is too long.
    """
    if name and tag and name != tag:
        raise InvalidValueError(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different"
            f" values (run_name='{name}', mlflow.runName='{tag}').",
            field="run_name",
        )
    name = name or tag
    validation.text(name, "run_name", validation.MAX_TAG_VALUE_LENGTH)
    return name or random_name()


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
