"""A call of a route that names what another tenant has.

`<run>` stands for an id of the other tenant's, or, for comparison, for one that nobody has;
`<own_run>` for one of the caller's.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

# What stands in the path of a route, unless a case says otherwise.
IN_PATH = {
    "experiment_id": "<experiment>",
    "run_id": "<run>",
    "model_id": "<model>",
    "tag_key": "<tag>",
    "key": "<metric>",
    "path": "<file>",
    "workspace_name": "<tenant>",
    "tenant": "<tenant>",
    "key_id": "<key>",
}

# Fields of requests that can name what a tenant has: each is used by a case of its route.
NAMING = {
    *("experiment_id", "experiment_ids", "experiment_name", "run_id", "run_uuid", "run_ids"),
    *("parent_run_id", "source_run_id", "model_id", "models", "metrics", "source", "alias"),
    *("version", "filter", "page_token", "path", "artifact_path", "artifact_directory_path"),
    *("datasets", "key", "tag_key", "metric_key", "workspace_name", "key_id", "target"),
    *("source_run_id", "source_path"),
}


@dataclass(frozen=True)
class Case:
    """A request, and the status of its answer. `created`: it makes something of the caller's own,
    whose new ids are left out of the comparison."""

    status: int
    query: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] | None = None
    content: str | None = None
    form: dict[str, Any] | None = None
    path: dict[str, str] = field(default_factory=dict)
    created: bool = False

    @property
    def needs_belongings(self) -> bool:
        """Whether the answer may depend on what the caller has: the request names some of it, or
        is answered with what there is."""
        return self.status < 300 or self.names("own_")

    def names(self, kind: str) -> bool:
        """Whether the request names an id of that kind, or of one that begins so."""
        return f"<{kind}" in json.dumps(asdict(self))


def query(status: int = 404, /, **fields: Any) -> Case:
    return Case(status, query=fields)


def body(status: int = 404, /, **fields: Any) -> Case:
    return Case(status, json=fields)


def makes(status: int = 200, /, **fields: Any) -> Case:
    return Case(status, json=fields, created=True)


def at(status: int = 404, /, **path: str) -> Case:
    return Case(status, path=path)


def point(**fields: Any) -> dict[str, Any]:
    return {"key": "<metric>", "value": 1, "timestamp": 1, "step": 0} | fields
