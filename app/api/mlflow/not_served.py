"""The paths of MLflow's server that this one does not serve, and the answer to them.

MLflow's clients show an answer in another shape than MLflow's as an internal error.
"""

from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.mlflow.error_responses import endpoint_not_found
from app.api.mlflow.page_files import TOP_LEVEL

# MLflow's clients use 2.0 for most and 3.0 for what is newer, its pages use ajax-api.
PREFIXES = [f"/{kind}/{version}" for kind in ("api", "ajax-api") for version in ("2.0", "3.0")]

GRAPHQL = "/graphql"

# `{rest}` stands for any path.
NOT_SERVED = [
    *(f"{prefix}/{{rest}}" for prefix in PREFIXES),
    *("/v1/traces", "/gateway/{rest}"),
]


@dataclass(frozen=True, slots=True)
class _Route:
    """What a request is counted under."""

    path: str


_BELOW = {path.partition("{")[0]: _Route(path) for path in NOT_SERVED if "{" in path}
_PREFIXES = tuple(_BELOW)
_EXACT = {path: _Route(path) for path in NOT_SERVED if "{" not in path}


def is_mlflow_path(path: str) -> bool:
    """Whether MLflow's clients, and no others, call the path, be it served or not."""
    return path.startswith(_PREFIXES) or path in _EXACT or path in (GRAPHQL, *TOP_LEVEL)


async def not_served(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI application: 404 in MLflow's shape, for a path that `is_mlflow_path`."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    scope["route"] = _EXACT.get(path) or next(
        route for prefix, route in _BELOW.items() if path.startswith(prefix)
    )
    body = endpoint_not_found(scope["method"], scope["path"].removeprefix("/"))
    await Response(body, 404, media_type="application/json")(scope, receive, send)
