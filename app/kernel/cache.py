"""Ready-made answers, each kept for as long as what it shows has the same version."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class VersionedCache(Generic[Key, Value]):
    """The most recently used ones, up to `max_bytes` of them by `size`.

    Whoever asks has just read the version from Postgres, and so knows whether a value is current:
    nothing expires, and nothing has to be told to other workers.
    """

    def __init__(self, max_bytes: int, size: Callable[[Value], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._bytes = 0
        self._kept: OrderedDict[Key, tuple[int, Value]] = OrderedDict()

    def get(self, key: Key, version: int) -> Value | None:
        found = self._kept.get(key)
        if found is None or found[0] != version:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def add(self, key: Key, version: int, value: Value) -> None:
        """Keep a value that shows that version, or a later one."""
        if key in self._kept:
            self._bytes -= self._size(self._kept.pop(key)[1])
        self._kept[key] = (version, value)
        self._bytes += self._size(value)
        while self._bytes > self._max_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= self._size(dropped)
