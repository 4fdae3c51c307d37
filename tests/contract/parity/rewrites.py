"""What one server shows in another way, brought to the form in which both can be compared.

Each function takes a part of an answer, and gives it back changed or as it was.
"""

import re
from collections.abc import Callable
from typing import Any

Json = Any

TENANT_TAG = "matih.tenant_id"


def without_tenant_tag(value: Json) -> Json:
    if not isinstance(value, dict) or not value.get("tags"):
        return value
    if isinstance(value["tags"], dict):  # as the client has them
        return value | {"tags": without(TENANT_TAG)(value["tags"])}
    tags = [tag for tag in value["tags"] if tag.get("key") != TENANT_TAG]
    rest = {key: one for key, one in value.items() if key != "tags"}
    return rest | {"tags": tags} if tags else rest


def without(*keys: str) -> Callable[[Json], Json]:
    def change(value: Json) -> Json:
        if not isinstance(value, dict):
            return value
        return {name: one for name, one in value.items() if name not in keys}

    return change


def opaque(value: Json) -> Json:
    if isinstance(value, dict) and "next_page_token" in value:
        return value | {"next_page_token": "<token>"}
    return value


def in_our_folders(value: Json) -> Json:
    """MLflow's `mlflow-artifacts:/{experiment}/{run}/artifacts`, with our folders' names."""
    if not isinstance(value, str):
        return value
    return re.sub(
        r"(mlflow-artifacts:/|No such artifact: ')(<id \d+>|0)(/models)?(/<id \d+>/artifacts)?",
        lambda m: f"{m[1]}experiments/{m[2]}" + (f"{m[3] or '/runs'}{m[4]}" if m[4] else ""),
        value,
    )


def without_legacy_description(value: Json) -> Json:
    if isinstance(value, dict) and value.get("name") == "default":
        return {key: one for key, one in value.items() if key != "description"}
    return value


def unbounded(value: Json) -> Json:
    bounds = {1.7976931348623157e308: "Infinity", -1.7976931348623157e308: "-Infinity"}
    return bounds.get(value, value) if isinstance(value, float) else value


def without_sql(value: Json) -> Json:
    if not isinstance(value, dict) or "error_code" not in value:
        return value
    message = re.sub(
        r" Error: \((sqlite3\.|raised as).*", "", value.get("message", ""), flags=re.DOTALL
    )
    return value | {"message": message}


def without_place(value: Json) -> Json:
    if not isinstance(value, dict) or "error_code" not in value:
        return value
    message = re.sub(r" \(column \d+\)\n.*", "", value.get("message", ""), flags=re.DOTALL)
    return value | {"message": message}


def cut_as_there(value: Json) -> Json:
    """The data of a run with its params and tags cut as MLflow cuts them when they are logged."""
    if not isinstance(value, dict):
        return value
    limits = {"params": 6000, "tags": 8000}
    cut = {
        kind: [pair | {"value": pair["value"][:limit]} for pair in value[kind]]
        for kind, limit in limits.items()
        if kind in value
    }
    return value | cut


def without_aliases(value: Json) -> Json:
    """A model version without its aliases; a model keeps its own."""
    if isinstance(value, dict) and "current_stage" in value:
        return {key: one for key, one in value.items() if key != "aliases"}
    return value


def without_negative_zero(value: Json) -> Json:
    return 0.0 if isinstance(value, float) and value == 0 else value


def nan_last(value: Json) -> Json:
    """The points of a history with NaN after the numbers of the same time and step."""
    if not isinstance(value, list) or not all("timestamp" in one for one in value):
        return value
    return sorted(
        value, key=lambda point: (point["timestamp"], point["step"], str(point["value"]) in _NANS)
    )


_NANS = ("NaN", "nan")
