"""The cache of rendered runs that the APIs hand to `Runs`.

`Runs` looks up the versions of runs, reads those that the cache lacks, and has them rendered. What
a rendered run looks like is the API's matter.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol
from uuid import UUID

from app.runs.entities import Run

Render = Callable[[Run], bytes]
"""How one API writes a run. The bytes may depend on nothing but the run."""


class RenderedRun(NamedTuple):
    """`artifact_uri` is for answers that list the run's artifacts, which are no part of `body`:
    artifacts change without a new version of the run."""

    run_id: UUID
    artifact_uri: str
    body: bytes


class RenderCache(Protocol):
    """Rendered runs by tenant, run, version and the function that rendered them."""

    def get(self, tenant_id: int, run_id: UUID, version: int, render: Render) -> RenderedRun | None:
        """The rendered run, if the cache holds it in that version."""

    def add(self, tenant_id: int, run: Run, render: Render) -> RenderedRun:
        """Render a run and cache it; `run.version` was read no later than the rest of the run."""
