"""Stops a worker when the process that started it has ended.

That process stops its workers when it is stopped. Killed with SIGKILL it cannot, and the workers
would keep the port. The pipe that multiprocessing keeps between both is closed then.
"""

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process

log = logging.getLogger(__name__)


@contextmanager
def stopped_with_parent() -> Iterator[None]:
    """Send this process SIGTERM if its parent ends; does nothing in a process without one."""
    parent = parent_process()
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def stop() -> None:
        loop.remove_reader(sentinel)
        log.warning("the parent process has ended; stopping")
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sentinel, stop)
    try:
        yield
    finally:
        loop.remove_reader(sentinel)
