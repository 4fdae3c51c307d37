"""Reads runs for answers, in portions that bound the memory of a request.

A run may take megabytes, and a page may have thousands of runs. The sizes of runs are read before
the runs, so that a page ends where it is large enough.
"""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from app.db.database import Database
from app.kernel.errors import TooLargeError
from app.kernel.event_loop_turns import EventLoopTurns
from app.kernel.memory_budget import MemoryBudget, count_fitting
from app.kernel.tenant import TENANT_TAG, Tenant
from app.runs import repository
from app.runs.entities import RUN_NAME_TAG, Run
from app.runs.rendering import Render, RenderCache, RenderedRun

# The bytes of a page of runs; a single run may take more.
MAX_PAGE_BYTES = 8 << 20

# A portion is read in one transaction, and rendered in one turn on the event loop.
PORTION_BYTES = 1 << 20
PORTION_RUNS = 100

# The runs whose sizes are read at a time.
_MEASURED_RUNS = 500


class RunReader:
    """With `tenant_tag`, runs have the tag that is derived from their tenant."""

    def __init__(
        self,
        database: Database,
        memory: MemoryBudget,
        turns: EventLoopTurns,
        rendered: RenderCache,
        *,
        tenant_tag: bool,
    ) -> None:
        self._database = database
        self._memory = memory
        self._turns = turns
        self._tenant_tag = tenant_tag
        self._rendered = rendered

    async def read(self, tenant: Tenant, ids: Sequence[UUID]) -> list[Run]:
        """The runs that exist, in the order of the ids, each as it was at one moment.

        Raises TooLargeError where several runs are larger than a page, and where one run is larger
        than what a request may hold.
        """
        sizes, runs = await self._read_sizes(tenant, ids)
        if runs is not None:
            return runs
        if len(sizes) > 1 and sum(sizes.values()) > MAX_PAGE_BYTES:
            raise TooLargeError(
                f"The {len(sizes)} runs take more than {MAX_PAGE_BYTES} bytes; ask for fewer"
            )
        await self._memory.hold_rows(tenant, sum(sizes.values()))
        found: dict[UUID, Run] = {}
        for portion in _portions([run_id for run_id in ids if run_id in sizes], sizes):
            found |= {run.run_id: run for run in await self._read_portion(tenant, portion)}
        return [found[run_id] for run_id in ids if run_id in found]

    async def rendered(
        self,
        tenant: Tenant,
        versions: Sequence[tuple[UUID, int]],
        render: Render,
        *,
        all_or_none: bool = False,
    ) -> tuple[list[RenderedRun], int]:
        """The first of the runs, rendered, up to MAX_PAGE_BYTES, without those that were purged.

        `versions` are (run id, version) in the order of the answer. Also returns how many of them
        the answer covers; with `all_or_none`, the answer is empty where it would not cover all.
        Runs whose version is in the cache are not read.
        """
        cached = [
            self._rendered.get(tenant.id, run_id, version, render) for run_id, version in versions
        ]
        hits = [run for run in cached if run is not None]
        size = sum([len(run.body) for run in hits])
        if len(hits) == len(cached) and size <= MAX_PAGE_BYTES:  # nearly all searches
            await self._memory.hold_rows(tenant, size)
            return hits, len(hits)
        rendered: list[RenderedRun] = []
        total = covered = 0
        for start in range(0, len(versions), _MEASURED_RUNS):
            ids = [run_id for run_id, _ in versions[start : start + _MEASURED_RUNS]]
            block = cached[start : start + _MEASURED_RUNS]
            misses = [run_id for run_id, run in zip(ids, block, strict=True) if run is None]
            sizes, runs = await self._read_sizes(tenant, misses) if misses else ({}, None)
            lengths = [
                sizes.get(run_id, 0) if run is None else len(run.body)
                for run_id, run in zip(ids, block, strict=True)
            ]
            count = count_fitting(lengths, MAX_PAGE_BYTES - total, partial=total > 0)
            total += sum(lengths[:count])
            covered += count
            if all_or_none and count < len(ids):
                return [], covered
            await self._memory.hold_rows(tenant, sum(lengths[:count]))
            fresh = await self._render(
                tenant, [run_id for run_id in ids[:count] if run_id in sizes], sizes, runs, render
            )
            for run_id, run in zip(ids[:count], block, strict=False):
                if (found := run or fresh.get(run_id)) is not None:
                    rendered.append(found)
            if count < len(ids):
                break
        return rendered, covered

    async def shortened(
        self, tenant: Tenant, ids: Sequence[UUID], render: Render
    ) -> tuple[list[RenderedRun], int]:
        """As `rendered`, with the beginnings of long params and tags. Nothing is cached."""
        async with self._database.read_pipeline(tenant) as connection:
            sizes = await repository.read_sizes(connection, tenant, ids, shortened=True)
        lengths = [sizes.get(run_id, 0) for run_id in ids]
        count = count_fitting(lengths, MAX_PAGE_BYTES)
        await self._memory.hold_rows(tenant, sum(lengths[:count]))
        rendered: list[RenderedRun] = []
        for portion in _portions([run_id for run_id in ids[:count] if run_id in sizes], sizes):
            runs = await self._read_portion(tenant, portion, shortened=True)
            async with self._turns.turn(tenant):
                rendered += [RenderedRun(run.run_id, run.artifact_uri, render(run)) for run in runs]
        return rendered, count

    async def _render(
        self,
        tenant: Tenant,
        ids: Sequence[UUID],
        sizes: Mapping[UUID, int],
        runs: Sequence[Run] | None,
        render: Render,
    ) -> dict[UUID, RenderedRun]:
        """Render runs and cache them; `runs` are those that were read with their sizes."""
        rendered = {}
        for portion in _portions(ids, sizes):
            portion_runs = await self._read_portion(tenant, portion) if runs is None else runs
            async with self._turns.turn(tenant):
                for run in portion_runs:
                    rendered[run.run_id] = self._rendered.add(tenant.id, run, render)
        return rendered

    async def _read_sizes(
        self, tenant: Tenant, ids: Sequence[UUID]
    ) -> tuple[dict[UUID, int], list[Run] | None]:
        """The sizes in bytes of the runs that exist; with the runs, if they are one portion."""
        if not ids:
            return {}, []
        async with self._database.read_pipeline(tenant, snapshot=True) as connection:
            sizes = await repository.read_sizes(connection, tenant, ids)
            if len(ids) > PORTION_RUNS or sum(sizes.values()) > PORTION_BYTES:
                return sizes, None
            runs = await repository.read(connection, tenant, ids)
            return sizes, self.add_derived_tags(tenant, runs)

    async def _read_portion(
        self, tenant: Tenant, ids: Sequence[UUID], *, shortened: bool = False
    ) -> list[Run]:
        async with self._database.read_pipeline(tenant, snapshot=True) as connection:
            runs = await repository.read(connection, tenant, ids, shortened=shortened)
            return self.add_derived_tags(tenant, runs)

    def add_derived_tags(self, tenant: Tenant, runs: list[Run]) -> list[Run]:
        """Add the tags that are not stored: the run's name, and its tenant."""
        for run in runs:
            if run.has_name_tag:
                run.tags[RUN_NAME_TAG] = run.name
            if self._tenant_tag:
                run.tags[TENANT_TAG] = tenant.slug
        return runs


def _portions(ids: Sequence[UUID], sizes: Mapping[UUID, int]) -> Iterator[Sequence[UUID]]:
    """The ids in portions of at most PORTION_RUNS runs and PORTION_BYTES, or of one run."""
    start = 0
    while start < len(ids):
        candidates = ids[start : start + PORTION_RUNS]
        count = count_fitting([sizes[run_id] for run_id in candidates], PORTION_BYTES)
        yield candidates[:count]
        start += count
