"""The one middleware of every request: its id, its headers, its time, its line and its counts.

It is plain ASGI, and stands around all others: it also sees the answer to an error that nobody
handled. What it does for a request is counted in microseconds, since logging a metric takes some
two hundred of them in all.
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
from app.http.response_cycle import CLIENT_GONE
from app.kernel import request_context
from app.kernel.request_context import RequestContext
from app.observability.access_log import AccessLog
from app.observability.worker_metrics import RequestCounts

log = logging.getLogger(__name__)

# What a client or a proxy may choose as a request's id: nothing that needs quoting anywhere.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

UNMATCHED = "(no such route)"

CLIENT_CLOSED = 499
"""For the log and the counts: the client was gone before it had the answer."""

# Answers are data. Should a browser take one for a page all the same, the page can do nothing,
# and nobody can frame it. The pages that are meant to be pages bring a policy of their own.
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_OWN = frozenset(name for name, _ in _SECURITY_HEADERS)


class RequestMiddleware:
    """Expects the tenant's name to be out of the path already.

    `templates` has the paths of routes by their endpoints, for those whose own path lacks the
    prefix of the router that they were included in.
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
        # Unique, and no more: what knows an id can do nothing with it.
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
                if not _OWN.isdisjoint(given):
                    own = [one for one in own if one[0] not in given]
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
            # An answer that had begun is cut off by the server, which sees that it is not whole.
            log.exception("unexpected error in %s %s", scope["method"], self._route(scope, prefix))
            status = 500
        except asyncio.CancelledError:  # the server stops
            status = status or 503
            raise
        finally:
            request.end()
            self._counts.open -= 1
            seconds = perf_counter() - started
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = self._route(scope, prefix)
            caller = request.caller
            tenant = request.tenant
            if not status or CLIENT_GONE in scope.get("state", ()):
                status = CLIENT_CLOSED
            self._counts.add(method, route, status, tenant, seconds)
            if self._access.wants(status, seconds):
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
        """The route's template, as `/api/v1/experiments/{experiment_id}`; that of a mount, where it
        has no such route.

        Never the path itself, which may hold ids, names and whatever a client chose to send.
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
