"""What the cases are written with: calls of MLflow's REST API, as short as they can be.

`$name` in a path, a body or a query stands for what an earlier call `keep`s under that name, on
each server its own.
"""

from dataclasses import dataclass, field, replace
from typing import Any

Json = Any
Case = list["Call"]


@dataclass(frozen=True)
class Call:
    """One request; `keep` names parts of the answer as dotted paths."""

    method: str
    path: str
    body: Json = None
    query: list[tuple[str, str]] = field(default_factory=list)
    keep: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def keeping(self, **keep: str) -> "Call":
        return replace(self, keep=keep)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def post(path: str, /, **body: Json) -> Call:
    return Call("POST", path, body)


def patch(path: str, /, **body: Json) -> Call:
    return Call("PATCH", path, body)


def delete(path: str, /, **body: Json) -> Call:
    return Call("DELETE", path, body)


def get(path: str, /, **query: Json) -> Call:
    """A list becomes a parameter that is repeated."""
    pairs = [
        (name, str(one))
        for name, value in query.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return Call("GET", path, query=pairs)


def raw(method: str, path: str, content: bytes | str, **headers: str) -> Call:
    """A body that is no JSON object, or not only."""
    content = content.encode() if isinstance(content, str) else content
    return Call(
        method, path, content=content, headers={"content-type": "application/json"} | headers
    )


def tags(**values: str) -> list[dict[str, str]]:
    """Tags or params as MLflow has them in bodies."""
    return [{"key": key, "value": value} for key, value in values.items()]


# --- experiments --------------------------------------------------------------------------------


def create_experiment(name: str, /, keep: str = "experiment", **fields: Json) -> Call:
    return post("experiments/create", name=name, **fields).keeping(**{keep: "experiment_id"})


def get_experiment(experiment: str = "$experiment") -> Call:
    return get("experiments/get", experiment_id=experiment)


# --- runs ---------------------------------------------------------------------------------------


def create_run(
    name: str = "run", /, keep: str = "run", experiment_id: str = "0", **fields: Json
) -> Call:
    fields = {"run_name": name, "start_time": 1, "user_id": "user"} | fields
    call = post("runs/create", experiment_id=experiment_id, **fields)
    return call.keeping(**{keep: "run.info.run_id"})


def get_run(run: str = "$run") -> Call:
    return get("runs/get", run_id=run)


def update_run(**fields: Json) -> Call:
    return post("runs/update", **({"run_id": "$run"} | fields))


def delete_run(run: str = "$run") -> Call:
    return post("runs/delete", run_id=run)


def restore_run(run: str = "$run") -> Call:
    return post("runs/restore", run_id=run)


def set_tag(key: Json, value: Json, run: str = "$run") -> Call:
    return post("runs/set-tag", run_id=run, key=key, value=value)


def delete_tag(key: Json, run: str = "$run") -> Call:
    return post("runs/delete-tag", run_id=run, key=key)


def log_param(key: Json, value: Json, run: str = "$run") -> Call:
    return post("runs/log-parameter", run_id=run, key=key, value=value)


def log_metric(
    key: Json, value: Json, timestamp: Json = 1, step: Json = 0, run: str = "$run", **fields: Json
) -> Call:
    return post(
        "runs/log-metric",
        run_id=run,
        key=key,
        value=value,
        timestamp=timestamp,
        step=step,
        **fields,
    )


def metric(key: Json, value: Json, timestamp: Json = 1, step: Json = 0, **fields: Json) -> Json:
    return {"key": key, "value": value, "timestamp": timestamp, "step": step} | fields


def log_batch(run: str = "$run", **lists: Json) -> Call:
    return post("runs/log-batch", run_id=run, **lists)


def history(key: str = "m", run: str = "$run", **query: Json) -> Call:
    return get("metrics/get-history", run_id=run, metric_key=key, **query)


def search_runs(filter: str = "", /, experiment_ids: Json = ("0",), **fields: Json) -> Call:
    return post("runs/search", experiment_ids=list(experiment_ids), filter=filter, **fields)
