"""The tenant in the path: `/t/{tenant}/anything` is served as `/anything`."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TenantPathMiddleware:
    """Moves the prefix `/t/{tenant}` from the path into ASGI's root path, and the tenant's name
    into the scope as `tenant_in_path`.

    Routes then match behind the prefix, and the URLs that they build keep it. Names that no tenant
    can have are refused by `app.api.guard`, where the refusal is counted and logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if path.startswith("/t/"):
            name, slash, _ = path[3:].partition("/")
            scope = {
                **scope,
                "root_path": f"{scope.get('root_path', '')}/t/{name}",
                "path": scope["path"] if slash else scope["path"] + "/",
                "tenant_in_path": name,
            }
        await self.app(scope, receive, send)


def route_path(scope: Scope) -> str:
    """The path below the root path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
