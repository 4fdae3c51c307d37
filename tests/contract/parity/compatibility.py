"""Writes docs/mlflow-compatibility.md: every route of the services of MLflow that this server takes
the place of, and how it serves each.

Run as `make compatibility`, or `python -m tests.contract.parity.compatibility` in the project's
folder.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.protos import databricks_pb2
from mlflow.protos.mlflow_artifacts_pb2 import MlflowArtifactsService
from mlflow.protos.model_registry_pb2 import ModelRegistryService
from mlflow.protos.service_pb2 import MlflowService
from mlflow.server import handlers

from app.api import mlflow as our_api
from tests.contract.parity.difference import Difference
from tests.contract.parity.differences import DIFFERENCES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "mlflow-compatibility.md"

# The first folder of a route, under `mlflow/`, and the part of the page that it stands in.
PARTS = {
    "experiments": "Tracking",
    "runs": "Tracking",
    "metrics": "Tracking",
    "artifacts": "Tracking",
    "logged-models": "Logged models",
    "registered-models": "Model registry",
    "model-versions": "Model registry",
    "mlflow-artifacts": "Artifacts",
    "workspaces": "Workspaces",
    "server-info": "Tracking",
    "get-artifact": "Files of the page",
    "upload-artifact": "Files of the page",
}
OTHERS = "Everything else"

# Of MLflow's page, which declares them elsewhere; the first two are also outside of the API.
PAGE_FILES = (
    ("GET", "mlflow/get-artifact"),
    ("GET", "mlflow/model-versions/get-artifact"),
    ("GET", "mlflow/logged-models/{model_id}/artifacts/files"),
    ("POST", "mlflow/upload-artifact"),
)

INTRODUCTION = """\
# Compatibility with MLflow {version}

Every route of the services of MLflow's server, and whether this server has it. `differs` leads
to the [list of differences](#differences), all of which are meant. The rest behaves alike: the same
calls are replayed on both servers, and the answers compared (`tests/contract/parity`).

What is not served answers 404 with the error code `ENDPOINT_NOT_FOUND`.

This page is written by `make compatibility`, from the routes of the installed MLflow; a test says
when it is out of date.
"""


@dataclass(frozen=True)
class Route:
    service: str
    method: str
    path: str

    @property
    def part(self) -> str:
        folder = self.path.split("/")[1 if self.path.startswith("mlflow/") else 0]
        return PARTS.get(folder, OTHERS)

    @property
    def call(self) -> str:
        """As the cases and the differences have it."""
        return f"{self.method} {self.path.removeprefix('mlflow/')}"


def routes() -> Iterator[Route]:
    """MLflow's, without the versions and the prefixes that all of them have."""
    known = set()
    for service in (MlflowService, ModelRegistryService, MlflowArtifactsService):
        for method in service.DESCRIPTOR.methods:
            for endpoint in method.GetOptions().Extensions[databricks_pb2.rpc].endpoints:
                route = Route(service.DESCRIPTOR.name, endpoint.method, endpoint.path.strip("/"))
                known.add((route.method, _shape(route.path)))
                yield route
    for path, _, methods in handlers.get_endpoints():
        plain = re.sub(r"^/(ajax-)?api/\d\.0/?", "", path)
        if not plain.startswith("mlflow/"):
            continue
        for method in methods:
            if (method, _shape(plain)) not in known:
                known.add((method, _shape(plain)))
                yield Route("pages", method, plain)

    for method, path in PAGE_FILES:
        yield Route("pages", method, path)


def _shape(path: str) -> str:
    """The path, whatever its variable parts are called: `{model_id}` and `<model_id>` are one."""
    return re.sub(r"[{<][^}>]*[}>]", "{}", path)


def served(route: Route) -> bool:
    table: dict[Any, Any] = {}
    for file in vars(our_api).values():
        table |= getattr(getattr(file, "routes", None), "table", {})
    table |= our_api.applications(lambda: NotImplemented)["/get-artifact"].table
    ours = {(method, _shape(f"mlflow/{path}")) for method, path in table}
    # Those below have their own router.
    ours |= {(method, "mlflow-artifacts/artifacts/{}") for method in ("GET", "PUT", "DELETE")} | {
        ("GET", "mlflow-artifacts/artifacts"),
        ("POST", "mlflow-artifacts/mpu/create/{}"),
        ("POST", "mlflow-artifacts/mpu/complete/{}"),
        ("POST", "mlflow-artifacts/mpu/abort/{}"),
        ("GET", "mlflow-artifacts/presigned/{}"),
    }
    return (route.method, _shape(route.path)) in ours


def differences_of(route: Route) -> list[Difference]:
    """Those that are met on this route, and not on all."""
    return [
        each
        for each in DIFFERENCES
        if each.calls != ".*" and re.fullmatch(each.calls, re.sub(r"\{.*?\}", "x", route.call))
    ]


def page() -> str:
    numbers = {each.name: number for number, each in enumerate(DIFFERENCES, start=1)}
    every = sorted(set(routes()), key=lambda route: (route.path, route.method))
    lines = [INTRODUCTION.format(version=mlflow.__version__)]
    for part in dict.fromkeys(PARTS.values()):
        lines += [f"## {part}", "", "| route | |", "|---|---|"]
        lines += [_row(route, numbers) for route in every if route.part == part]
        lines.append("")
    lines += [f"## {OTHERS}", "", "Not served, by the first part of the path:", ""]
    others = [route for route in every if route.part == OTHERS]
    for folder in dict.fromkeys(route.path.split("/")[1] for route in others):
        count = sum(route.path.split("/")[1] == folder for route in others)
        lines.append(f"- `mlflow/{folder}` ({count} route{'s' if count > 1 else ''})")
    lines += ["", "## Differences", ""]
    lines += [
        f"{number}. **{each.name}**{' (everywhere)' if each.calls == '.*' else ''}: {each.reason}"
        for number, each in enumerate(DIFFERENCES, start=1)
    ]
    return "\n".join(lines) + "\n"


def _row(route: Route, numbers: dict[str, int]) -> str:
    state = "not served"
    if served(route):
        found = sorted(numbers[each.name] for each in differences_of(route))
        state = f"differs: {', '.join(map(str, found))}" if found else "served"
    return f"| `{route.method} {route.path}` | {state} |"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")
