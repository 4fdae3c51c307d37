"""LRU cache of runs as JSON, by version. Both APIs of a worker share it."""

from uuid import UUID

from app.kernel.cache import VersionedCache
from app.runs.entities import Run
from app.runs.rendering import Render, RenderedRun

# The memory that a worker spends on it; a run with 20 params and 20 metrics takes about 4 kB.
MAX_BYTES = 16 * 1024 * 1024

# Larger runs are not cached: a few would evict all that other tenants read again and again.
MAX_RUN_BYTES = 1024 * 1024

# The tenant, and the run's id as a number: hashing a UUID takes ten times as long.
_Key = tuple[int, int, Render]


class RunJsonCache:
    """The `RenderCache` of a worker.

    Every write to a run, or to what belongs to it, raises the run's version in the same
    transaction, so that an entry never has to expire.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._runs: VersionedCache[_Key, RenderedRun] = VersionedCache(
            max_bytes, lambda run: len(run.body)
        )

    def get(self, tenant_id: int, run_id: UUID, version: int, render: Render) -> RenderedRun | None:
        """The rendered run, if it is cached in that version."""
        return self._runs.get((tenant_id, run_id.int, render), version)

    def add(self, tenant_id: int, run: Run, render: Render) -> RenderedRun:
        """Render a run, and cache it unless it is larger than MAX_RUN_BYTES."""
        rendered = RenderedRun(run.run_id, run.artifact_uri, render(run))
        if len(rendered.body) <= MAX_RUN_BYTES:
            self._runs.put((tenant_id, run.run_id.int, render), run.version, rendered)
        return rendered
