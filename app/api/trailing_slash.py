"""A path with a slash too many at its end leads to the one without."""

from urllib.parse import quote

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


def install(app: FastAPI) -> None:
    """In the place of FastAPI's redirect, whose Location repeats the Host header, and says http
    behind a proxy that ends TLS. This one is a path."""
    app.router.redirect_slashes = False
    not_found = app.router.default

    async def without_slash(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if scope["type"] == "http" and path != scope["path"] and _is_served(app, scope, path):
            query = scope["query_string"].decode("latin-1")
            answer = RedirectResponse(quote(path) + (f"?{query}" if query else ""))
            await answer(scope, receive, send)
        else:
            await not_found(scope, receive, send)

    app.router.default = without_slash


def _is_served(app: FastAPI, scope: Scope, path: str) -> bool:
    shorter = {**scope, "path": path}
    return any(route.matches(shorter)[0] is not Match.NONE for route in app.router.routes)
