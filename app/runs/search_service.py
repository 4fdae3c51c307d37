"""Searching runs: pages of rendered runs."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from app.db.database import Database
from app.kernel.errors import InvalidValueError, UnavailableError
from app.kernel.event_loop_turns import EventLoopTurns
from app.kernel.ids import parse_experiment_id
from app.kernel.lifecycle import ViewType
from app.kernel.tenant import Tenant
from app.runs import repository
from app.runs.reader import MAX_PAGE_BYTES, RunReader
from app.runs.rendering import Render, RenderedRun
from app.runs.statement_cache import MAX_LENGTH, compiled_run_search
from app.search.page import CompiledPage


class RunSearch:
    """Searches runs, each search within a timeout. An experiment that does not exist has no runs.

    With `tenant_tag`, searches find the tag that is derived from the tenant.
    """

    def __init__(
        self,
        database: Database,
        reader: RunReader,
        turns: EventLoopTurns,
        *,
        tenant_tag: bool,
        timeout_seconds: float,
    ) -> None:
        self._database = database
        self._reader = reader
        self._turns = turns
        self._tenant_tag = tenant_tag
        self._timeout_ms = round(timeout_seconds * 1000)

    async def page(
        self,
        tenant: Tenant,
        experiment_ids: Sequence[str],
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        view: ViewType = "ACTIVE_ONLY",
        limit: int,
        page_token: str | None = None,
        render: Render,
    ) -> tuple[list[bytes], str | None]:
        """A page of rendered runs, newest first without `order_by`, and the next page's token.

        A page of large runs may have fewer than `limit`. Raises InvalidValueError for a malformed
        filter, order or token, and for a search that takes too long.
        """
        page = await self._compiled(
            tenant,
            _existing_ids(experiment_ids),
            filter=filter,
            order_by=order_by,
            view=view,
            limit=limit,
            page_token=page_token,
            tenant_tag=self._tenant_tag,
        )
        async with self._refusing_timeouts(), self._database.read_pipeline(tenant) as connection:
            cursor = await repository.find_page(connection, page, timeout_ms=self._timeout_ms)
        rows = await cursor.fetchall()
        found = [(row[0], row[-1]) for row in rows[:limit]]
        runs, count = await self._reader.rendered(tenant, found, render)
        _, token = page.split(rows, count)
        return [run.body for run in runs], token

    async def page_and_count(
        self,
        tenant: Tenant,
        experiment_ids: Sequence[str] | None,
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        statuses: Sequence[str] = (),
        view: ViewType = "ACTIVE_ONLY",
        limit: int,
        offset: int,
        render: Render,
    ) -> tuple[list[RenderedRun], int]:
        """A page of rendered runs by offset, and how many runs match in all.

        `experiment_ids` of None searches all experiments. A page of runs that are too large shows
        the beginnings of long values.

        Raises InvalidValueError for a malformed filter or order, for a search that takes too long,
        and for a page of runs that are too large even so: a shorter page would make clients that
        add `limit` to `offset` skip runs.
        """
        page = await self._compiled(
            tenant,
            None if experiment_ids is None else _existing_ids(experiment_ids),
            filter=filter,
            order_by=order_by,
            statuses=statuses,
            view=view,
            limit=limit,
            offset=offset,
            tenant_tag=self._tenant_tag,
        )
        async with self._refusing_timeouts(), self._database.read_pipeline(tenant) as connection:
            found = await repository.find_page(connection, page, timeout_ms=self._timeout_ms)
            counted = await repository.count_matches(connection, page)
        rows = await found.fetchall()
        versions = [(row[0], row[-1]) for row in rows[:limit]]
        ((total,),) = await counted.fetchall()
        runs, count = await self._reader.rendered(tenant, versions, render, all_or_none=True)
        if count < len(versions):
            ids = [run_id for run_id, _ in versions]
            runs, count = await self._reader.shortened(tenant, ids, render)
        if count < len(versions):
            raise InvalidValueError(
                f"The runs of this page take more than {MAX_PAGE_BYTES} bytes; the first {count}"
                " do not",
                field="limit",
            )
        return runs, total

    async def _compiled(self, tenant: Tenant, *search: Any, **more: Any) -> CompiledPage:
        """Compile a search. A long filter takes the event loop a while, and so waits for a turn."""
        if len(more["filter"]) <= MAX_LENGTH:
            return compiled_run_search(tenant, *search, **more)
        async with self._turns.turn(tenant):
            return compiled_run_search(tenant, *search, **more)

    @asynccontextmanager
    async def _refusing_timeouts(self) -> AsyncIterator[None]:
        """Raises InvalidValueError, and not UnavailableError, for a search that took too long:
        clients retry after UnavailableError, and the search would take as long again."""
        try:
            yield
        except UnavailableError as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            raise InvalidValueError(
                f"The search took more than {self._timeout_ms / 1000:g} seconds and was ended."
                " Search fewer experiments, or name a param or a tag that the runs have in common",
                field="filter",
            ) from error


def _existing_ids(experiment_ids: Sequence[str]) -> list[int]:
    """The ids that can be an experiment's; a search in the others finds nothing."""
    return [number for text in experiment_ids if (number := parse_experiment_id(text)) is not None]
