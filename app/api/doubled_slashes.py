"""Doubled slashes in front of and in the prefix of an API, which clients make of a base URL that
ends in a slash: `//api/2.0/mlflow/runs/get` is served as `/api/2.0/mlflow/runs/get`.
"""

import re

from starlette.types import Scope

from app.api.tenant_path import route_path

# The prefix: the tenant, and the path up to the API's name. What follows may be the path of an
# artifact, in which a doubled slash is refused; but the paths of MLflow's messages are words.
_PREFIX = re.compile(r"(?:/+t/[^/]+)?(?:/+(?:ajax-)?api(?:/+[^/]+){0,2})?/+")
_SLASHES = re.compile(r"//+")


def merged(scope: Scope) -> Scope:
    """The scope with single slashes in the prefix of its path.

    Everything that decides by the path has to come after this, so that it sees what the routes see.
    `raw_path` stays what the client sent.
    """
    path = route_path(scope)
    prefix = _PREFIX.match(path)
    if prefix is None:
        return scope
    head, rest = _SLASHES.sub("/", prefix[0]), path[prefix.end() :]
    if head.endswith("/mlflow/"):
        rest = _SLASHES.sub("/", rest)
    return {**scope, "path": f"{scope.get('root_path', '')}{head}{rest}"}
