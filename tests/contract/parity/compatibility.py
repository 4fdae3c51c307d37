"""Writes docs/mlflow-compatibility.md: every route of the services of MLflow that this server takes
the place of, and how it serves each.

Run as `make compatibility`, or `python -m tests.contract.parity.compatibility` in the project's
folder.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mlflow
import mlflow.server
from mlflow.protos import databricks_pb2
from mlflow.protos.mlflow_artifacts_pb2 import MlflowArtifactsService
from mlflow.protos.model_registry_pb2 import ModelRegistryService
from mlflow.protos.service_pb2 import MlflowService
from mlflow.server import handlers
from mlflow.server.assistant.api import assistant_router
from mlflow.server.gateway_api import gateway_router
from mlflow.server.job_api import job_api_router
from mlflow.server.mcp_server_api import mcp_server_router
from mlflow.server.otel_api import otel_router

from app.api.mlflow.page_files import TOP_LEVEL
from app.config import Settings
from app.main import create_app
from tests.contract.isolation import routes as our_routes
from tests.contract.parity.difference import Difference
from tests.contract.parity.differences import DIFFERENCES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "mlflow-compatibility.md"

BESIDE = "Beside the API"
# What is served of the folders that no part has.
NOT_KEPT = "Searches that find nothing"
PAGES = "What MLflow's pages ask for"

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
    **dict.fromkeys(("get-artifact", "model-versions/get-artifact", "graphql"), BESIDE),
    **dict.fromkeys(("health", "version", "v1/traces"), BESIDE),
    **dict.fromkeys(("assistant", "ui-telemetry", "upload-artifact", "gateway-proxy"), PAGES),
    **dict.fromkeys(("get-trace-artifact", "gateway/secrets/config"), PAGES),
}
OTHERS = "Everything else"

INTRODUCTION = """\
# Compatibility with MLflow {version}

Every route of MLflow's server, and whether this server has it. `differs` leads to the
[list of differences](#differences), all of which are meant. The rest behaves alike: the same
calls are replayed on both servers, and the answers compared (`tests/contract/parity`).

What is not served answers 404 with the error code `ENDPOINT_NOT_FOUND`. Traces, scorers,
evaluation datasets and issues are not kept: searches for them find nothing. `GET /version` is the
version of MLflow above, by which clients decide what they send; the version of this server is at
`/api/v1/version`.

This page is written by `make compatibility`, from the routes of the installed MLflow; a test says
when it is out of date.
"""


@dataclass(frozen=True)
class Route:
    service: str
    method: str
    path: str

    @property
    def folder(self) -> str:
        """Without the prefixes of MLflow's API."""
        path = self.path.removeprefix("mlflow/")
        return path if path in PARTS else path.split("/")[0]

    @property
    def top(self) -> str:
        return f"mlflow/{self.folder}" if self.path.startswith("mlflow/") else self.folder

    @property
    def part(self) -> str:
        return PARTS.get(self.folder, NOT_KEPT if served(self) else OTHERS)

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
    for method, path in _other_routes():
        plain = re.sub(r"^/((ajax-)?api/\d\.0/?)?", "", path)
        if plain and (method, _shape(plain)) not in known:
            known.add((method, _shape(plain)))
            yield Route("pages", method, plain)


def _other_routes() -> Iterator[tuple[str, str]]:
    """Method and path of those that no service declares; not of the files of MLflow's pages."""
    for path, _, methods in handlers.get_endpoints():
        yield from ((method, path) for method in methods)
    for rule in mlflow.server.app.url_map.iter_rules():
        if not rule.rule.startswith(("/build/", "/static-files/")):
            yield from _reads_and_writes(rule.methods or (), rule.rule)
    mcp_servers = "/api/3.0/mlflow/mcp-servers"
    for router in (otel_router, assistant_router, gateway_router, job_api_router):
        for route in router.routes:
            yield from _reads_and_writes(route.methods, route.path)
    for route in mcp_server_router.routes:
        yield from _reads_and_writes(route.methods, mcp_servers + route.path)


def _reads_and_writes(methods: Iterable[str], path: str) -> Iterator[tuple[str, str]]:
    yield from ((method, path) for method in sorted(set(methods) - {"HEAD", "OPTIONS"}))


def _shape(path: str) -> str:
    """The path, whatever its variable parts are called: `{model_id}` and `<model_id>` are one."""
    return re.sub(r"[{<][^}>]*[}>]", "{}", path)


def served(route: Route) -> bool:
    return (route.method, _shape(route.path)) in _ours()


@cache
def _ours() -> frozenset[tuple[str, str]]:
    app = create_app(Settings(_env_file=None, database_url="postgresql:///"))
    return frozenset(
        (route.method, _shape(route.path.removeprefix("/api/2.0").removeprefix("/")))
        for route in our_routes.served(app).values()
        if not route.refuses
    ) | {("GET", path.removeprefix("/")) for path in TOP_LEVEL}


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
    for part in dict.fromkeys([*PARTS.values(), NOT_KEPT]):
        lines += [f"## {part}", "", "| route | |", "|---|---|"]
        lines += [_row(route, numbers) for route in every if route.part == part]
        lines.append("")
    lines += [f"## {OTHERS}", "", "Not served, by the first part of the path:", ""]
    others = [route for route in every if route.part == OTHERS]
    for folder in dict.fromkeys(route.top for route in others):
        count = sum(route.top == folder for route in others)
        lines.append(f"- `{folder}` ({count} route{'s' if count > 1 else ''})")
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
