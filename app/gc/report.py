"""The report of a garbage collection, and its progress callback."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """A number of objects and their total size in bytes."""

    count: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.bytes += size


@dataclass(slots=True)
class Report:
    """What was found in one tenant, and deleted if the policy says so.

    `points` are metric points, `files` the files of archived runs and models, `orphans` objects
    without a file, `lost` files without an object, `uploads` unfinished uploads. `kept` counts runs
    and models that are kept because the registry uses their files.
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
        """Whether the store and the index agree, and there are no unfinished uploads."""
        return not (self.orphans.count or self.lost.count or self.uploads)


# Called with the name of a step, the items done, and their total number where it is known.
Progress = Callable[[str, int, int | None], None]


def no_progress(_step: str, _done: int, _total: int | None) -> None:
    """A progress callback that does nothing."""
