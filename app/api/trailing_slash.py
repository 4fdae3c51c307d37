"""Redirects a path that ends in a slash to the one without, where only that is a route."""

from urllib.parse import quote

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


def install(app: FastAPI) -> None:
    """Redirect in the router's default, which answers the paths that match no route.

    FastAPI's own redirect (`redirect_slashes`) repeats the Host header in its Location, and has the
    scheme http behind a proxy that ends TLS. This Location is a path.
    """
    not_found = app.router.default

    async def redirect_or_404(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if scope["type"] == "http" and path != scope["path"] and _is_route(app, scope, path):
            query = scope["query_string"].decode("latin-1")
            response = RedirectResponse(quote(path) + (f"?{query}" if query else ""))
            await response(scope, receive, send)
        else:
            await not_found(scope, receive, send)

    app.router.default = redirect_or_404


def _is_route(app: FastAPI, scope: Scope, path: str) -> bool:
    without_slash = {**scope, "path": path}
    return any(route.matches(without_slash)[0] is not Match.NONE for route in app.router.routes)
