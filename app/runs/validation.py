"""The rules for what is logged to a run, and for its name."""

import json
from contextlib import suppress
from typing import Any

from app.kernel import validation
from app.kernel.errors import ConflictError, InvalidValueError
from app.kernel.random_names import random_name
from app.kernel.validation import INT64_MAX, INT64_MIN
from app.metrics.entities import Point
from app.runs.entities import LOGGED_MODELS_TAG, RunWrite


def check_write(write: RunWrite) -> None:
    """Raises InvalidValueError for the first key or value that breaks a rule."""
    validation.batch(write.points, write.params, write.tags)
    checked: set[str] = set()
    # Written for the thousand points that are all right: the names of places are for the others.
    for index, point in enumerate(write.points):
        if point.key not in checked:
            place = _place(write, "metrics", index)
            validation.key(point.key, f"{place}key", called="Metric name")
            checked.add(point.key)
        if not (0 <= point.timestamp <= INT64_MAX and INT64_MIN <= point.step <= INT64_MAX):
            _refuse_range(point, _place(write, "metrics", index))
        if point.model_id or point.dataset_name or point.dataset_digest:
            _check_measured_on(point, _place(write, "metrics", index))
    for index, (key, value) in enumerate(write.params.items()):
        validation.param(key, value, _place(write, "params", index))
    for index, (key, value) in enumerate(write.tags.items()):
        validation.tag(key, value, _place(write, "tags", index))


def _place(write: RunWrite, items: str, index: int) -> str:
    return "" if write.single else f"{items}[{index}]."


def _refuse_range(point: Point, place: str) -> None:
    if not 0 <= point.timestamp <= INT64_MAX:
        raise validation.invalid(
            f"{place}timestamp",
            point.timestamp,
            f"metric '{point.key}' (value={point.value})."
            " Timestamp must be a nonnegative long (64-bit integer) ",
        )
    validation.int64(point.step, f"{place}step")


def _check_measured_on(point: Point, at: str) -> None:
    """The logged model and the dataset that a point was measured on."""
    for name in ("model_id", "dataset_name", "dataset_digest"):
        validation.text(getattr(point, name) or "", f"{at}{name}", 500)
    if bool(point.dataset_name) != bool(point.dataset_digest):
        raise InvalidValueError(
            "Both dataset_name and dataset_digest must be provided if one is provided",
            field=f"{at}dataset_digest" if point.dataset_name else f"{at}dataset_name",
        )


def new_name(name: str, in_tag: str) -> str:
    """A run's name, given as such, in its tag, or not at all."""
    if name and in_tag and name != in_tag:
        raise InvalidValueError(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different"
            f" values (run_name='{name}', mlflow.runName='{in_tag}').",
            field="run_name",
        )
    name = name or in_tag
    validation.text(name, "run_name", validation.MAX_TAG_VALUE_LENGTH)
    return name or random_name()


def recorded_models(tag: str) -> list[Any]:
    """What MLflow 2's clients have recorded in the run's tag."""
    with suppress(ValueError, RecursionError):
        models = json.loads(tag)
        if isinstance(models, list):
            return models
    raise ConflictError(
        f"The tag '{LOGGED_MODELS_TAG}' of the run does not hold a list of models",
        field=LOGGED_MODELS_TAG,
    )
