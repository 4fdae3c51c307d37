"""What is refused whatever it asks for, before anything else looks at it.

A path that no tenant can have; a request that calls this server by a name that is not its own (DNS
rebinding); a change that another site's page had its visitor's browser send. With keys too: a key
that was once typed into a browser's dialog (Basic) is sent for any page.
"""

from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import mlflow
from app.api.headers import error_headers
from app.api.mlflow.router import error_answer
from app.kernel.errors import InvalidValueError, PermissionDeniedError, TrackingError
from app.tenants.resolution import check_path

# Load balancers call these by an address. They tell nothing.
_PROBES = frozenset({"/health", "/ready"})
_CHANGES_NOTHING = frozenset({"GET", "HEAD", "OPTIONS"})
_READ = frozenset({b"host", b"origin", b"sec-fetch-site"})
# What a browser says of a request that no other site's page has sent (Fetch Metadata).
_OWN_SITE = frozenset({b"same-origin", b"none"})
_DEFAULT_PORTS = (":80", ":443")

ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


class Guard:
    """`hosts` are the names that requests may be for, None for any; `origins` those whose pages may
    call the APIs. `problem` answers an error outside of MLflow's API.

    Expects the tenant's name to be out of the path already. It reads no body.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str] | None,
        origins: Iterable[str],
        problem: ErrorHandler,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origin.encode() for origin in origins)
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except TrackingError as error:
                answer = await self._refusal(scope, error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises NotFoundError, InvalidValueError for a host, PermissionDeniedError for a page."""
        check_path(scope)
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                given.setdefault(name, []).append(value)
        hosts = given.get(b"host", [])
        host = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
        if self._hosts is not None and _path(scope) not in _PROBES:
            _check_host(host, self._hosts)
        origins, sites = given.get(b"origin", []), given.get(b"sec-fetch-site", [])
        if (origins or sites) and scope["method"] not in _CHANGES_NOTHING:
            self._check_page(host, origins, sites)

    def _check_page(self, host: str, origins: list[bytes], sites: list[bytes]) -> None:
        """Only browsers send the two headers, and no page can make them say something else.

        The scheme is not compared: behind a proxy that ends TLS it is another than the page's.
        """
        if origins and self._origins.issuperset(origins):
            return
        if _OWN_SITE.issuperset(sites) and all(_is_origin_of(host, one) for one in origins):
            return
        raise PermissionDeniedError(
            "The request comes from a web page of another site, which may change nothing here. An"
            " operator lets the pages of an origin in by TRACKING_CORS_ORIGINS."
        )

    async def _refusal(self, scope: Scope, error: TrackingError) -> Response:
        """The error in the shape of the API that was called."""
        if not mlflow.speaks_at(_path(scope)):
            return await self._problem(Request(scope), error)
        status, body = error_answer(error)
        return Response(body, status, error_headers(error), media_type="application/json")


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path[len(scope.get("root_path", "")) :]


def _check_host(name: str, allowed: frozenset[str]) -> None:
    if name not in allowed:
        host = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
        if host.removeprefix("[").removesuffix("]") not in allowed:
            raise InvalidValueError(
                f"The request is for the host {name[:300]!r}, which is not a name of this server:"
                " it answers to loopback names and to those in TRACKING_ALLOWED_HOSTS",
                field="host",
            )


def _is_origin_of(host: str, origin: bytes) -> bool:
    scheme, _, its_host = origin.decode("latin-1").lower().partition("://")
    return scheme in ("http", "https") and _bare(its_host) == _bare(host) != ""


def _bare(host: str) -> str:
    """Without a port that browsers leave out, and some proxies put in."""
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host
