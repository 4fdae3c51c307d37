"""Cancels the work for a request when its client disconnects."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from starlette.types import Receive

Answer = TypeVar("Answer")

# Most requests are answered before; they only set and cancel a timer.
WATCH_AFTER_SECONDS = 1.0


class ClientGoneError(Exception):
    """The client has disconnected: there is nobody to answer."""


async def unless_gone(receive: Receive, work: Awaitable[Answer]) -> Answer:
    """Await `work`, which only reads, and cancel it if the client disconnects meanwhile.

    That also cancels its statement in Postgres, and frees the connection. The request's body must
    have been received. Raises ClientGoneError.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def start_watcher() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(WATCH_AFTER_SECONDS, start_watcher)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or task.uncancel():  # cancelled from elsewhere too
            raise
        raise ClientGoneError from None
    finally:
        timer.cancel()
        if watcher is not None and not gone:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
