"""What is known of the request that is being answered, for whoever logs or audits.

A context variable and not an argument: the request's id and its caller concern every service that
deletes something and every line that is logged, and none of their rules. Each request runs in a
task with a context of its own, so nothing can be left over from another one.
"""

from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import Scope

from app.kernel.principal import Principal


class RequestContext:
    """The ASGI scope is kept and not copied: routing and the check of the caller add to it while
    the request is under way."""

    __slots__ = ("_ends", "held", "request_id", "scope")

    def __init__(self, request_id: str, scope: Scope) -> None:
        self.request_id = request_id
        self.scope = scope
        self.held = 0  # bytes, of the worker's memory
        self._ends: list[Callable[[], None]] | None = None

    def at_end(self, call: Callable[[], None]) -> None:
        """Have something done once the request is answered, or has failed."""
        if self._ends is None:
            self._ends = []
        self._ends.append(call)

    def end(self) -> None:
        ends, self._ends = self._ends, None
        for call in ends or ():
            call()

    @property
    def caller(self) -> Principal | None:
        """Who calls; None until the credentials were found good."""
        return self.scope.get("caller")

    @property
    def tenant(self) -> str | None:
        """The slug of the tenant, once it is known."""
        caller = self.caller
        return caller.tenant.slug or None if caller else None


_current: ContextVar[RequestContext | None] = ContextVar("request", default=None)

enter = _current.set


def current() -> RequestContext | None:
    """The request that is being answered; None in a task that serves none."""
    return _current.get()
