"""Request context: the id, ASGI scope and caller of the request that the current task serves.

A context variable and not an argument of every service: log lines, the audit log and the memory
budget need it, and no rule of the domain does. Each request runs in a task with a context of its
own, so requests cannot see one another's.
"""

from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import Scope

from app.kernel.principal import Principal


class RequestContext:
    """One request. The scope is kept, not copied: routing and authentication add to it later.

    `held_bytes` is what the request holds of the worker's memory budget.
    """

    __slots__ = ("_end_callbacks", "held_bytes", "request_id", "scope")

    def __init__(self, request_id: str, scope: Scope) -> None:
        self.request_id = request_id
        self.scope = scope
        self.held_bytes = 0
        self._end_callbacks: list[Callable[[], None]] | None = None

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back once the response is sent, or the request has failed."""
        if self._end_callbacks is None:
            self._end_callbacks = []
        self._end_callbacks.append(callback)

    def end(self) -> None:
        """Run the callbacks of `on_end`, once."""
        callbacks, self._end_callbacks = self._end_callbacks, None
        for callback in callbacks or ():
            callback()

    @property
    def caller(self) -> Principal | None:
        """The authenticated caller; None before authentication, or if it failed."""
        return self.scope.get("caller")

    @property
    def tenant(self) -> str | None:
        """The slug of the caller's tenant; None before authentication."""
        caller = self.caller
        return caller.tenant.slug or None if caller else None


_current: ContextVar[RequestContext | None] = ContextVar("request", default=None)

enter = _current.set


def current() -> RequestContext | None:
    """The request that the current task serves; None in a task that serves none."""
    return _current.get()
