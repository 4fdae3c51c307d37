"""The guard: refuses requests that no route may serve, before any route or body is looked at.

Refused are paths of malformed tenants; hosts that are not this server's (DNS rebinding); and
changes that a browser sends for another site's page (cross-site request forgery). The last holds
with keys too: a browser sends a key that was typed into its dialog (Basic) for any page.
"""

from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.tenant_path import route_path
from app.kernel.errors import InvalidValueError, PermissionDeniedError, TrackingError
from app.tenants.resolution import check_path

# Load balancers call these by an address. Their answers hold no data.
_ANY_HOST = frozenset({"/health", "/ready"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_READ_HEADERS = frozenset({b"host", b"origin", b"sec-fetch-site"})
# Values of Sec-Fetch-Site for requests that no other site's page has caused (Fetch Metadata).
_OWN_SITE = frozenset({b"same-origin", b"none"})
_DEFAULT_PORTS = (":80", ":443")


class Guard:
    """ASGI middleware. `hosts` are the names that requests may be for, None for any; `origins` are
    those whose pages may call the APIs. `error_response` renders a refusal.

    Expects the tenant's prefix to be out of the path already.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str] | None,
        origins: Iterable[str],
        error_response: Callable[[Scope, TrackingError], Response],
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origin.encode() for origin in origins)
        self._error_response = error_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except TrackingError as error:
            await self._error_response(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises NotFoundError for a tenant, InvalidValueError for a host, PermissionDeniedError
        for a page."""
        check_path(scope)
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in _READ_HEADERS:
                given.setdefault(name, []).append(value)
        hosts = given.get(b"host", [])
        host = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
        if self._hosts is not None and route_path(scope) not in _ANY_HOST:
            _check_host(host, self._hosts)
        origins, sites = given.get(b"origin", []), given.get(b"sec-fetch-site", [])
        if (origins or sites) and scope["method"] not in _SAFE_METHODS:
            self._check_page(host, origins, sites)

    def _check_page(self, host: str, origins: list[bytes], sites: list[bytes]) -> None:
        """Only browsers send the two headers, and no page can set them.

        The scheme is not compared: behind a proxy that ends TLS it differs from the page's.
        """
        if origins and self._origins.issuperset(origins):
            return
        if _OWN_SITE.issuperset(sites) and all(_is_origin_of(host, origin) for origin in origins):
            return
        raise PermissionDeniedError(
            "The request comes from a web page of another site, which may change nothing here. An"
            " operator can allow the pages of an origin by TRACKING_CORS_ORIGINS."
        )


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
    return scheme in ("http", "https") and _without_port(its_host) == _without_port(host) != ""


def _without_port(host: str) -> str:
    """A host without a default port, which browsers leave out and some proxies put in."""
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host
