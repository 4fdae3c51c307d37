"""Middleware of every request: request id, security headers, access log and metrics.

It is plain ASGI and the outermost middleware, so that it also covers responses to unexpected
errors. It is on the path of every request: logging a metric takes some 200 µs in all, and a few of
them here.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Mapping
from itertools import count
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import sendfile
from app.http.head import IS_HEAD
from app.http.response_writer import CLIENT_DISCONNECTED
from app.kernel import request_context
from app.kernel.request_context import RequestContext
from app.observability.access_log import AccessLog
from app.observability.worker_metrics import RequestCounts

log = logging.getLogger(__name__)

# Request ids that are accepted from clients and proxies: characters that need no quoting.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

UNMATCHED = "(no such route)"

CLIENT_CLOSED = 499
"""The status in the log and the metrics if the client disconnected before the response ended."""

# Responses are data. A browser that renders one as a page runs no script in it, and no page can
# frame it. Responses that are meant as pages set a policy of their own.
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_SECURITY_NAMES = frozenset(name for name, _ in _SECURITY_HEADERS)


class RequestMiddleware:
    """Runs inside `TenantPathMiddleware`, which has taken the tenant out of the path.

    `templates` are the path templates of routes by their endpoints, for routes of included
    routers, whose own path lacks the router's prefix.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: AccessLog,
        counts: RequestCounts,
        templates: Mapping[object, str],
    ) -> None:
        self.app = app
        self._templates = templates
        self._access = access
        self._counts = counts
        # Request ids are unique, not secret.
        self._prefix = secrets.token_hex(6)
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        prefix = scope.get("root_path", "")
        request_id = _given_id(scope) or f"{self._prefix}-{next(self._numbers):x}"
        request = RequestContext(request_id, scope)
        request_context.enter(request)
        id_header = (b"x-request-id", request_id.encode())
        status = 0
        size = 0

        def observed(message: Message) -> Awaitable[None]:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                given = [name for name, _ in headers]
                own = _SECURITY_HEADERS
                if not _SECURITY_NAMES.isdisjoint(given):
                    own = [header for header in own if header[0] not in given]
                message["headers"] = [*headers, id_header, *own]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            elif message["type"] == sendfile.EXTENSION:
                size += message["count"]
            return send(message)

        self._counts.open += 1
        try:
            await self.app(scope, receive, observed)
        except Exception:
            # If the response has begun, the server closes the connection, since it is incomplete.
            log.exception("unexpected error in %s %s", scope["method"], self._route(scope, prefix))
            status = 500
        except asyncio.CancelledError:  # the server is stopping
            status = status or 503
            raise
        finally:
            request.end()
            self._counts.open -= 1
            seconds = perf_counter() - started
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            if IS_HEAD in scope:
                method, size = "HEAD", 0
            route = self._route(scope, prefix)
            caller = request.caller
            tenant = request.tenant
            if not status or CLIENT_DISCONNECTED in scope.get("state", ()):
                status = CLIENT_CLOSED
            self._counts.add(method, route, status, tenant, seconds)
            if self._access.includes(status, seconds):
                self._access.add(
                    request_id=request_id,
                    method=method,
                    route=route,
                    status=status,
                    seconds=seconds,
                    size=size,
                    tenant=tenant,
                    caller=caller.name if caller else None,
                )

    def _route(self, scope: Scope, prefix: str) -> str:
        """The route's path template, as `/api/v1/experiments/{experiment_id}`; if only a mount
        matched, the mount's path.

        Never the path itself, which holds ids, names and anything that a client sends.
        """
        template = self._templates.get(scope.get("endpoint"))
        if template is not None:
            return template
        mount: str = scope.get("root_path", "")[len(prefix) :]
        path: str = getattr(scope.get("route"), "path", "")
        return mount + path or UNMATCHED


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.fullmatch(value) else None
    return None
