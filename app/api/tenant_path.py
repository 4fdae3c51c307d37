"""Takes the tenant out of the path."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TenantPathMiddleware:
    """Serves `/t/{tenant}/anything` as `/anything`, with the tenant's name kept in the scope.

    The prefix becomes part of ASGI's root path, so that routes match behind it and the URLs
    they build keep it. Names that no tenant can have are refused further in, by
    `app.api.guard`, so that those requests are counted and logged like all others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root = scope.get("root_path", "")
            path = scope["path"].removeprefix(root)
            if path.startswith("/t/"):
                name, slash, _ = path[3:].partition("/")
                scope = {
                    **scope,
                    "root_path": f"{root}/t/{name}",
                    "path": scope["path"] if slash else scope["path"] + "/",
                    "tenant_in_path": name,
                }
        await self.app(scope, receive, send)
