"""Runs as an API sends them, kept as ready-made bytes for as long as the run stays the same."""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from app.kernel.cache import VersionedCache
from app.runs.entities import Run

Render = Callable[[Run], bytes]
"""How one API writes a run. It must depend on nothing but the run."""

# What a worker spends on them; a run with 20 params and 20 metrics takes about 4 kB.
MAX_BYTES = 16 * 1024 * 1024

# Longer ones are not kept: a few would push out all that other tenants read again and again.
MAX_KEPT_BYTES = 1024 * 1024

# The tenant, and the number of the run's id: to hash a UUID takes ten times as long.
_Key = tuple[int, int, Render]


class RenderedRun(NamedTuple):
    """`artifact_uri` is for who shows its artifacts beside it, which no version tells of."""

    run_id: UUID
    artifact_uri: str
    body: bytes


class RenderedRuns:
    """The most recently used ones, each with the version of the run that it shows.

    Every write to a run, or to what hangs on it, raises the run's version in the same transaction.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._kept: VersionedCache[_Key, RenderedRun] = VersionedCache(
            max_bytes, lambda run: len(run.body)
        )

    def get(self, tenant_id: int, run_id: UUID, version: int, render: Render) -> RenderedRun | None:
        return self._kept.get((tenant_id, run_id.int, render), version)

    def add(self, tenant_id: int, run: Run, render: Render) -> RenderedRun:
        """Render a run, whose version was read no later than what it shows."""
        rendered = RenderedRun(run.run_id, run.artifact_uri, render(run))
        if len(rendered.body) <= MAX_KEPT_BYTES:
            self._kept.put((tenant_id, run.run_id.int, render), run.version, rendered)
        return rendered
