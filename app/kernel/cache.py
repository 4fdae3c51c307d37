"""LRU caches: one whose entries expire by time, one whose entries are valid for a version."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class TtlCache(Generic[Key, Value]):
    """LRU cache of at most `max_size` entries, each with a time to live.

    For one event loop: it does not lock. `clock` gives seconds and must be monotonic.
    """

    __slots__ = ("_clock", "_entries", "_max_size")

    def __init__(self, max_size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_size = max_size
        self._clock = clock
        # The least recently used entry first: the value, and when it expires.
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many entries are stored; expired ones count until they are looked up or evicted."""
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value; None if there is none or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expiry = entry
        if self._clock() < expiry:
            self._entries.move_to_end(key)
            return value
        del self._entries[key]
        return None

    def put(self, key: Key, value: Value, seconds: float) -> None:
        """Store a value for so many seconds; the least recently used entry is evicted if full."""
        self._entries[key] = (value, self._clock() + seconds)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_size:
            self._entries.popitem(last=False)

    def discard(self, key: Key) -> None:
        """Remove the entry of a key, if there is one."""
        self._entries.pop(key, None)

    def discard_if(self, condition: Callable[[Value], bool]) -> None:
        """Remove the entries whose value meets the condition; looks at every entry."""
        for key in [key for key, (value, _) in self._entries.items() if condition(value)]:
            del self._entries[key]


class VersionedCache(Generic[Key, Value]):
    """LRU cache of values that are valid for one version, of at most `max_bytes` by `size`.

    The caller reads the current version from Postgres and passes it to `get`. So entries need no
    expiry, and other workers need no invalidation messages.
    """

    __slots__ = ("_bytes", "_entries", "_max_bytes", "_size")

    def __init__(self, max_bytes: int, size: Callable[[Value], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._bytes = 0
        self._entries: OrderedDict[Key, tuple[int, Value]] = OrderedDict()

    def get(self, key: Key, version: int) -> Value | None:
        """The value of that version; None if there is none or it is of another version."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != version:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Key, version: int, value: Value) -> None:
        """Store the value of a version; it may show a later state, never an earlier one."""
        if key in self._entries:
            self._bytes -= self._size(self._entries.pop(key)[1])
        self._entries[key] = (version, value)
        self._bytes += self._size(value)
        while self._bytes > self._max_bytes:
            _, (_, evicted) = self._entries.popitem(last=False)
            self._bytes -= self._size(evicted)
