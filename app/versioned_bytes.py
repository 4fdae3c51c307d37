"""Ready-made answers, each kept for as long as what it shows has the same version."""

from collections import OrderedDict
from collections.abc import Hashable


class VersionedBytes:
    """The most recently used ones, up to `max_bytes` of them.

    Whoever asks has just read the version from Postgres, and so knows whether bytes are current:
    nothing expires, and nothing has to be told to other workers.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[int, bytes]] = OrderedDict()

    def get(self, key: Hashable, version: int) -> bytes | None:
        found = self._kept.get(key)
        if found is None or found[0] != version:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def add(self, key: Hashable, version: int, body: bytes) -> None:
        """Keep a body that shows that version, or a later one."""
        if key in self._kept:
            self._bytes -= len(self._kept.pop(key)[1])
        self._kept[key] = (version, body)
        self._bytes += len(body)
        while self._bytes > self._max_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= len(dropped)
