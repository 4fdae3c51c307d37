"""What garbage collection found, and what it takes to watch it."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """A number of things and the bytes that they have in the store."""

    count: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.bytes += size


@dataclass(slots=True)
class Report:
    """What there was to remove in one tenant; with `delete`, it is gone.

    `points` are metric points, `files` those of what was archived, `orphans` objects that are no
    files, `lost` files that have no object, `uploads` those that were never finished. `kept` counts
    what was archived for long enough but has files that the registry uses.
    """

    experiments: int = 0
    runs: int = 0
    models: int = 0
    points: int = 0
    kept: int = 0
    files: Tally = field(default_factory=Tally)
    orphans: Tally = field(default_factory=Tally)
    lost: Tally = field(default_factory=Tally)
    uploads: int = 0

    @property
    def clean(self) -> bool:
        """Whether the store and the index agree, and nothing was left unfinished."""
        return not (self.orphans.count or self.lost.count or self.uploads)


# Told what is being done, how many steps of it are done, and of how many where that is known.
Progress = Callable[[str, int, int | None], None]


def unseen(_what: str, _done: int, _of: int | None) -> None:
    """Progress that nobody watches."""
