"""What a client asked for ends when the client hangs up."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from starlette.types import Receive

Answer = TypeVar("Answer")

# Most requests are answered long before; for them no more than a timer is set and cleared.
LOOK_AFTER = 1.0  # seconds


class ClientGoneError(Exception):
    """The client has hung up; nobody waits for an answer."""


async def unless_gone(receive: Receive, work: Awaitable[Answer]) -> Answer:
    """Await `work`, which only reads, and break it off should the client hang up meanwhile.

    That cancels its statement in Postgres, too, and frees the connection. The body of the request
    must have been received. Raises ClientGoneError.
    """
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    watching: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        this.cancel()

    def start() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    timer = loop.call_later(LOOK_AFTER, start)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or this.uncancel():  # somebody else wants this task to end
            raise
        raise ClientGoneError from None
    finally:
        timer.cancel()
        if watching is not None and not gone:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
