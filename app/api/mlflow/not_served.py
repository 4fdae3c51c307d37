"""The paths of MLflow's server that this one does not serve, and the answer to them.

MLflow's clients show an answer in another shape than MLflow's as an internal error.
"""

import re
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.mlflow.error_responses import endpoint_not_found
from app.api.mlflow.page_files import TOP_LEVEL

# MLflow's clients use 2.0 for most and 3.0 for what is newer, its pages use ajax-api.
PREFIXES = [f"/{kind}/{version}" for kind in ("api", "ajax-api") for version in ("2.0", "3.0")]

_SPANS = "/v1/traces"
GRAPHQL = "/graphql"
_EXACT = (_SPANS, GRAPHQL, *TOP_LEVEL)

# `{rest}` stands for any path.
NOT_SERVED = [*(f"{prefix}/{{rest}}" for prefix in PREFIXES), _SPANS, "/gateway/{rest}"]

# Each group is a path that begins one of NOT_SERVED, or is one; `version` is a version of MLflow's
# API that there is not (yet).
_PATH = re.compile(
    rf"(?P<below>{'|'.join(map(re.escape, PREFIXES))}|/gateway(?=/|$))(?!\d).*"
    rf"|(?P<exact>{'|'.join(_EXACT)})/?"
    r"|(?P<version>/ajax-api(?=/|$)|/api(?=/\d)).*",
    re.DOTALL,
)

# A client that finds these words in the answer stops sending the spans of each trace on their own.
_NO_SPANS = " REST OTLP span logging is not supported."


@dataclass(frozen=True, slots=True)
class _Route:
    """What a request is counted under."""

    path: str


def is_mlflow_path(path: str) -> bool:
    """Whether MLflow's clients, and no others, call the path, be it served or not."""
    return _PATH.fullmatch(path) is not None


async def not_served(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI application: 404 in MLflow's shape, for a path that `is_mlflow_path`."""
    found = _PATH.fullmatch(scope["path"].removeprefix(scope.get("root_path", "")))
    assert found is not None
    exact = found["exact"]
    scope["route"] = _Route(exact or f"{found['below'] or found['version']}/{{rest}}")
    more = _NO_SPANS if exact == _SPANS else ""
    body = endpoint_not_found(scope["method"], scope["path"], more)
    await Response(body, 404, media_type="application/json")(scope, receive, send)
