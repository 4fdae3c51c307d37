"""Runs on their way out: read in portions, rendered in turns, and held against the budget.

A run may take megabytes, and a page may have thousands of runs. How much they are is asked before
they are read, so that a page ends where it is large enough.
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

# What a page of runs takes at most, unless it is one run.
MAX_PAGE_BYTES = 8 << 20

# What is read and rendered at once, and how many sizes are asked for.
_PORTION_BYTES = 1 << 20
_PORTION_RUNS = 100
_MEASURED = 500


class RunReader:
    """`tenant_tag` tells whether runs show the tag that is derived from their tenant."""

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

        Raises TooLargeError where several are more than a page, and for one that is more than a
        request may hold.
        """
        sizes, runs = await self._measured(tenant, ids)
        if runs is not None:
            return runs
        if len(sizes) > 1 and sum(sizes.values()) > MAX_PAGE_BYTES:
            raise TooLargeError(
                f"The {len(sizes)} runs take more than {MAX_PAGE_BYTES} bytes; ask for fewer"
            )
        await self._memory.hold_rows(tenant, sum(sizes.values()))
        found: dict[UUID, Run] = {}
        for portion in _portions([one for one in ids if one in sizes], sizes):
            found |= {run.run_id: run for run in await self._read(tenant, portion)}
        return [found[one] for one in ids if one in found]

    async def rendered(
        self, tenant: Tenant, versions: Sequence[tuple[UUID, int]], render: Render
    ) -> tuple[list[RenderedRun], int]:
        """Those of the first runs that still exist, in the order given, up to MAX_PAGE_BYTES of
        them; and how many of the first those are. Only runs that changed are read."""
        kept = [
            self._rendered.get(tenant.id, run_id, version, render) for run_id, version in versions
        ]
        whole = [run for run in kept if run is not None]
        size = sum([len(run.body) for run in whole])
        if len(whole) == len(kept) and size <= MAX_PAGE_BYTES:  # nearly all searches
            await self._memory.hold_rows(tenant, size)
            return whole, len(whole)
        rendered: list[RenderedRun] = []
        total = covered = 0
        for start in range(0, len(versions), _MEASURED):
            ids = [run_id for run_id, _ in versions[start : start + _MEASURED]]
            block = kept[start : start + _MEASURED]
            absent = [one for one, run in zip(ids, block, strict=True) if run is None]
            sizes, runs = await self._measured(tenant, absent) if absent else ({}, None)
            lengths = [
                sizes.get(one, 0) if run is None else len(run.body)
                for one, run in zip(ids, block, strict=True)
            ]
            count = count_fitting(lengths, MAX_PAGE_BYTES - total, partial=total > 0)
            total += sum(lengths[:count])
            covered += count
            await self._memory.hold_rows(tenant, sum(lengths[:count]))
            read = await self._render(
                tenant, [one for one in ids[:count] if one in sizes], sizes, runs, render
            )
            for one, run in zip(ids[:count], block, strict=False):
                if (shown := run or read.get(one)) is not None:
                    rendered.append(shown)
            if count < len(ids):
                break
        return rendered, covered

    async def _render(
        self,
        tenant: Tenant,
        ids: Sequence[UUID],
        sizes: Mapping[UUID, int],
        runs: Sequence[Run] | None,
        render: Render,
    ) -> dict[UUID, RenderedRun]:
        rendered = {}
        for portion in _portions(ids, sizes):
            some = await self._read(tenant, portion) if runs is None else runs
            async with self._turns.turn(tenant):
                for run in some:
                    rendered[run.run_id] = self._rendered.add(tenant.id, run, render)
        return rendered

    async def _measured(
        self, tenant: Tenant, ids: Sequence[UUID]
    ) -> tuple[dict[UUID, int], list[Run] | None]:
        """How many bytes the runs take that exist; and, where they are one portion, the runs."""
        if not ids:
            return {}, []
        async with self._database.read_pipeline(tenant, snapshot=True) as connection:
            sizes = await repository.sizes(connection, tenant, ids)
            if len(ids) > _PORTION_RUNS or sum(sizes.values()) > _PORTION_BYTES:
                return sizes, None
            return sizes, self.shown(tenant, await repository.read(connection, tenant, ids))

    async def _read(self, tenant: Tenant, ids: Sequence[UUID]) -> list[Run]:
        async with self._database.read_pipeline(tenant, snapshot=True) as connection:
            return self.shown(tenant, await repository.read(connection, tenant, ids))

    def shown(self, tenant: Tenant, runs: list[Run]) -> list[Run]:
        """Add the tags that are derived and stored nowhere."""
        for run in runs:
            run.tags[RUN_NAME_TAG] = run.name
            if self._tenant_tag:
                run.tags[TENANT_TAG] = tenant.slug
        return runs


def _portions(ids: Sequence[UUID], sizes: Mapping[UUID, int]) -> Iterator[Sequence[UUID]]:
    start = 0
    while start < len(ids):
        some = ids[start : start + _PORTION_RUNS]
        count = count_fitting([sizes[one] for one in some], _PORTION_BYTES)
        yield some[:count]
        start += count
