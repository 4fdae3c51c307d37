"""Removes what has been archived for long enough: runs, logged models, experiments.

Each of them goes in one short transaction, under its lock, so that a restore which comes at the
same moment wins as a whole or loses as a whole, and so does a version that is registered from it.
The audit log tells of it in the same transaction. Locks are taken in one order: the experiment, or
the folders of uploads (`app.artifacts.index_writer`); then runs or logged models, by id.

What is too much for one transaction, points and files, goes afterwards, by itself: wherever the
process is killed, the next one goes on.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg

from app.artifacts.service import Artifacts
from app.audit import trail
from app.db.database import Database
from app.gc import sql
from app.gc.report import Progress, Report
from app.kernel.tenant import Tenant

_PAGE = 100  # how many runs, models or experiments are looked at, or removed, together
_OWNERS = 1000
_SERIES = 200
_POINTS = 20_000

_NO_RUN = UUID(int=0)


class Archive:
    """What is archived in one tenant. A `cutoff` is in epoch milliseconds: what was archived by
    then is old enough."""

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        tenant: Tenant,
        report: Report,
        progress: Progress,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._tenant = tenant
        self._report = report
        self._progress = progress
        self._doomed: list[str] = []  # folders of models that a purge would take

    async def count(self, cutoff: int) -> None:
        """Report what `purge` would remove, but for the files."""
        report = self._report
        report.runs, report.points, report.models = await self._expected(cutoff)
        async for (experiment,) in self._pages(sql.ARCHIVED_EXPERIMENTS, -1, cutoff):
            async with self._database.write_pipeline(self._tenant) as connection:
                blocked = await self._blocked(connection, experiment, cutoff)
            if not blocked:
                report.experiments += 1
                models = await self._rows(sql.MODELS_OF_EXPERIMENT, experiment=experiment)
                report.models += len(models)
                self._doomed += [_folder(experiment, "models", model) for (model,) in models]

    async def purge(self, cutoff: int) -> None:
        """Remove it, but for the points and the files."""
        expected, _, _ = await self._expected(cutoff)
        marked = [
            experiment
            async for (experiment,) in self._pages(sql.ARCHIVED_EXPERIMENTS, -1, cutoff)
            if await self._mark(experiment, cutoff)
        ]
        async for runs in self._batches(sql.ARCHIVED_RUNS, _NO_RUN, cutoff):
            self._report.runs += await self._delete_runs(runs, cutoff)
            self._progress("removing archived runs", self._report.runs, expected)
        async for models in self._batches(sql.ARCHIVED_MODELS, "", cutoff):
            self._report.models += await self._delete_models(models, cutoff)
            self._progress("removing deleted models", self._report.models, None)
        for experiment in marked:
            self._report.experiments += await self._delete_experiment(experiment)

    async def delete_points(self) -> None:
        """Remove the points of runs that are gone, now or in an earlier purge."""
        while series := [one for (one,) in await self._rows(sql.PURGED_SERIES, limit=_SERIES)]:
            gone = _POINTS
            while gone == _POINTS:
                ((gone,),) = await self._rows(sql.DELETE_POINTS, series=series, limit=_POINTS)
                self._report.points += gone
                self._progress("removing points", self._report.points, None)
            await self._execute(sql.FORGET_SERIES, series=series)

    async def delete_files(self) -> None:
        """Remove the files of runs and models that are gone, now or in an earlier purge."""
        async for folders in self._folders_of_what_is_gone():
            async for artifact in self._artifacts.remove(self._tenant, *folders):
                self._report.files.add(artifact.size)
                self._progress("removing files", self._report.files.count, None)

    async def count_files(self, cutoff: int | None) -> None:
        """Report what `delete_files` would remove, after a purge. `count` comes before."""
        folders = [one async for page in self._folders_of_what_is_gone() for one in page]
        folders += self._doomed
        if cutoff is not None:
            async for run, experiment in self._pages(sql.ARCHIVED_RUNS, _NO_RUN, cutoff):
                folders.append(_folder(experiment, "runs", run.hex))
            async for model, experiment in self._pages(sql.ARCHIVED_MODELS, "", cutoff):
                folders.append(_folder(experiment, "models", model))
        for folder in folders:
            async for artifact in self._artifacts.walk(self._tenant, folder):
                self._report.files.add(artifact.size)

    async def _expected(self, cutoff: int) -> tuple[int, int, int]:
        """Archived runs, their points, and models; those that are kept go to the report."""
        ((runs, points, kept_runs),) = await self._rows(sql.COUNT_RUNS, cutoff=cutoff)
        ((models, kept_models),) = await self._rows(sql.COUNT_MODELS, cutoff=cutoff)
        self._report.kept = kept_runs + kept_models
        return runs, points, models

    async def _mark(self, experiment: int, cutoff: int) -> bool:
        """Keep the experiment and its runs from being restored; False where it is to stay."""
        async with self._database.write_pipeline(self._tenant) as connection:
            if await self._blocked(connection, experiment, cutoff):
                return False
            mine = self._with(experiment=experiment)
            await connection.execute(sql.MARK_RUNS, mine)
            await connection.execute(sql.MARK_MODELS, mine)
            await connection.execute(sql.MARK_EXPERIMENT, mine)
        return True

    async def _blocked(
        self, connection: psycopg.AsyncConnection, experiment: int, cutoff: int
    ) -> bool:
        """Whether the experiment is to stay; if not, it is locked, with its runs."""
        mine = self._with(experiment=experiment, cutoff=cutoff)
        if not await _fetch(connection, sql.LOCK_EXPERIMENT, mine):
            return True
        ((blocked,),) = await _fetch(connection, sql.BLOCKED, mine)
        return bool(blocked)

    async def _delete_runs(self, found: Sequence[tuple[UUID, int]], cutoff: int) -> int:
        folders = [_folder(experiment, "runs", run.hex) for run, experiment in found]
        async with self._locked(folders) as connection:
            mine = self._with(runs=[run for run, _ in found], cutoff=cutoff)
            locked = [run for (run,) in await _fetch(connection, sql.LOCK_RUNS, mine)]
            mine = self._with(runs=locked)
            runs = [run for (run,) in await _fetch(connection, sql.UNUSED_RUNS, mine)]
            self._report.kept += len(locked) - len(runs)
            mine = self._with(runs=runs)
            await connection.execute(sql.NOTE_SERIES, mine)
            await connection.execute(sql.DELETE_RUNS, mine)
            await self._tell(connection, "gc.run", [run.hex for run in runs])
        return len(runs)

    async def _delete_models(self, found: Sequence[tuple[str, int]], cutoff: int) -> int:
        folders = [_folder(experiment, "models", model) for model, experiment in found]
        async with self._locked(folders) as connection:
            mine = self._with(models=[model for model, _ in found], cutoff=cutoff)
            locked = [model for (model,) in await _fetch(connection, sql.LOCK_MODELS, mine)]
            mine = self._with(models=locked)
            gone = [model for (model,) in await _fetch(connection, sql.DELETE_UNUSED_MODELS, mine)]
            self._report.kept += len(locked) - len(gone)
            await self._tell(connection, "gc.logged_model", gone)
        return len(gone)

    async def _delete_experiment(self, experiment: int) -> int:
        async with self._database.write_pipeline(self._tenant) as connection:
            mine = self._with(experiment=experiment)
            gone = await _fetch(connection, sql.DELETE_EXPERIMENT, mine)
            await self._tell(connection, "gc.experiment", [str(one) for (one,) in gone])
        return len(gone)

    async def _tell(
        self, connection: psycopg.AsyncConnection, action: str, targets: Sequence[str]
    ) -> None:
        for target in targets:
            await trail.record(connection, self._tenant, action, target)

    async def _folders_of_what_is_gone(self) -> AsyncIterator[list[str]]:
        """Those that have files, some at a time."""
        after = ""
        while page := await self._rows(sql.OWNERS, after=after, limit=_OWNERS):
            if folders := [folder for folder, gone in page if gone]:
                yield folders
            after = f"{page[-1][0]}0"

    @asynccontextmanager
    async def _locked(self, folders: Sequence[str]) -> AsyncIterator[psycopg.AsyncConnection]:
        """A transaction in which no file is recorded in the folders."""
        async with self._database.write_pipeline(self._tenant) as connection:
            await connection.execute(sql.LOCK_FOLDERS, self._with(folders=sorted(folders)))
            yield connection

    async def _pages(self, statement: str, first: object, cutoff: int) -> AsyncIterator[Any]:
        async for page in self._batches(statement, first, cutoff):
            for row in page:
                yield row

    async def _batches(
        self, statement: str, first: object, cutoff: int
    ) -> AsyncIterator[list[Any]]:
        """All rows after `first`, by their first column."""
        after = first
        while page := await self._rows(statement, after=after, cutoff=cutoff, limit=_PAGE):
            after = page[-1][0]
            yield page

    async def _rows(self, statement: str, **parameters: object) -> list[Any]:
        async with self._database.write_pipeline(self._tenant) as connection:
            return await _fetch(connection, statement, self._with(**parameters))

    async def _execute(self, statement: str, **parameters: object) -> None:
        async with self._database.write_pipeline(self._tenant) as connection:
            await connection.execute(statement, self._with(**parameters))

    def _with(self, **parameters: object) -> dict[str, object]:
        return {"tenant": self._tenant.id, **parameters}


async def _fetch(
    connection: psycopg.AsyncConnection, statement: str, parameters: dict[str, object]
) -> list[Any]:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()


def _folder(experiment: int, kind: str, name: str) -> str:
    return f"experiments/{experiment}/{kind}/{name}/artifacts"
