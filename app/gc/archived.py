"""Deletes runs, logged models and experiments that were archived long enough ago.

Each batch is deleted in a short transaction that locks its rows. A concurrent restore, or a
registration of a version, either commits before it and keeps the row, or finds it gone. The same
transaction writes the audit log. Locks are taken in one order: the experiment, or the folders of
uploads (`app.artifacts.index_writer`); then runs or logged models, by id.

Metric points and files are too many for one transaction and are deleted afterwards. Where the
process is killed, the next run of gc continues.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from app.artifacts.service import Artifacts
from app.audit import trail
from app.db.database import Database
from app.db.pipeline import Pipeline
from app.gc import sql
from app.gc.report import Progress, Report
from app.kernel.artifact_uris import model_folder, run_folder
from app.kernel.tenant import Tenant

_PAGE = 100  # runs, models or experiments read or deleted by one transaction
_OWNERS_PER_PAGE = 1000
_SERIES_PER_BATCH = 200
_POINTS_PER_BATCH = 20_000

_BEFORE_ALL_RUNS = UUID(int=0)


class Archive:
    """Archived rows of one tenant. A `cutoff` is in epoch milliseconds: what was archived until
    then is deleted."""

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
        # Folders of models that `purge` would delete along with their experiments.
        self._folders_of_purged_models: list[str] = []

    async def count(self, cutoff: int) -> None:
        """Reports what `purge` would delete."""
        report = self._report
        report.runs, report.points, report.models = await self._expected(cutoff)
        async for (experiment,) in self._pages(sql.ARCHIVED_EXPERIMENTS, -1, cutoff):
            async with self._database.write_pipeline(self._tenant) as connection:
                blocked = await self._blocked(connection, experiment, cutoff)
            if not blocked:
                report.experiments += 1
                models = await self._rows(sql.MODELS_OF_EXPERIMENT, experiment=experiment)
                report.models += len(models)
                self._folders_of_purged_models += [
                    model_folder(experiment, model) for (model,) in models
                ]

    async def purge(self, cutoff: int) -> None:
        """Deletes archived runs, models and experiments, but not their points and files."""
        expected, _, _ = await self._expected(cutoff)
        marked = [
            experiment
            async for (experiment,) in self._pages(sql.ARCHIVED_EXPERIMENTS, -1, cutoff)
            if await self._mark(experiment, cutoff)
        ]
        async for runs in self._batches(sql.ARCHIVED_RUNS, _BEFORE_ALL_RUNS, cutoff):
            self._report.runs += await self._delete_runs(runs, cutoff)
            self._progress("removing archived runs", self._report.runs, expected)
        async for models in self._batches(sql.ARCHIVED_MODELS, "", cutoff):
            self._report.models += await self._delete_models(models, cutoff)
            self._progress("removing deleted models", self._report.models, None)
        for experiment in marked:
            self._report.experiments += await self._delete_experiment(experiment)

    async def delete_points(self) -> None:
        """Deletes the points of runs that this or an earlier purge has deleted."""
        while series := await self._purged_series():
            deleted = _POINTS_PER_BATCH
            while deleted == _POINTS_PER_BATCH:
                ((deleted,),) = await self._rows(
                    sql.DELETE_POINTS, series=series, limit=_POINTS_PER_BATCH
                )
                self._report.points += deleted
                self._progress("removing points", self._report.points, None)
            await self._execute(sql.DELETE_PURGED_SERIES, series=series)

    async def _purged_series(self) -> list[int]:
        rows = await self._rows(sql.PURGED_SERIES, limit=_SERIES_PER_BATCH)
        return [series for (series,) in rows]

    async def delete_files(self) -> None:
        """Deletes the files of runs and models that this or an earlier purge has deleted."""
        async for folders in self._folders_without_owner():
            async for artifact in self._artifacts.delete_each(self._tenant, *folders):
                self._report.files.add(artifact.size)
                self._progress("removing files", self._report.files.count, None)

    async def count_files(self, cutoff: int | None) -> None:
        """Reports what `delete_files` would delete after a purge; to be called after `count`."""
        folders = [folder async for page in self._folders_without_owner() for folder in page]
        folders += self._folders_of_purged_models
        if cutoff is not None:
            async for run, experiment in self._pages(sql.ARCHIVED_RUNS, _BEFORE_ALL_RUNS, cutoff):
                folders.append(run_folder(experiment, run.hex))
            async for model, experiment in self._pages(sql.ARCHIVED_MODELS, "", cutoff):
                folders.append(model_folder(experiment, model))
        for folder in folders:
            async for artifact in self._artifacts.walk(self._tenant, folder):
                self._report.files.add(artifact.size)

    async def _expected(self, cutoff: int) -> tuple[int, int, int]:
        """The numbers of archived runs, of their points, and of deleted models. Adds to the report
        how many runs and models are kept."""
        ((runs, points, kept_runs),) = await self._rows(sql.COUNT_RUNS, cutoff=cutoff)
        ((models, kept_models),) = await self._rows(sql.COUNT_MODELS, cutoff=cutoff)
        self._report.kept = kept_runs + kept_models
        return runs, points, models

    async def _mark(self, experiment: int, cutoff: int) -> bool:
        """Marks the experiment, its runs and its models, so that they can't be restored. Returns
        False where the experiment is kept."""
        async with self._database.write_pipeline(self._tenant) as connection:
            if await self._blocked(connection, experiment, cutoff):
                return False
            values = self._values(experiment=experiment)
            await connection.execute(sql.MARK_RUNS, values)
            await connection.execute(sql.MARK_MODELS, values)
            await connection.execute(sql.MARK_EXPERIMENT, values)
        return True

    async def _blocked(self, connection: Pipeline, experiment: int, cutoff: int) -> bool:
        """Whether the experiment is kept; if not, it and its runs are locked."""
        values = self._values(experiment=experiment, cutoff=cutoff)
        if not await _fetch(connection, sql.LOCK_EXPERIMENT, values):
            return True
        ((blocked,),) = await _fetch(connection, sql.BLOCKED, values)
        return bool(blocked)

    async def _delete_runs(self, found: Sequence[tuple[UUID, int]], cutoff: int) -> int:
        folders = [run_folder(experiment, run.hex) for run, experiment in found]
        async with self._locked(folders) as connection:
            values = self._values(runs=[run for run, _ in found], cutoff=cutoff)
            locked = [run for (run,) in await _fetch(connection, sql.LOCK_RUNS, values)]
            values = self._values(runs=locked)
            runs = [run for (run,) in await _fetch(connection, sql.UNUSED_RUNS, values)]
            self._report.kept += len(locked) - len(runs)
            values = self._values(runs=runs)
            await connection.execute(sql.INSERT_PURGED_SERIES, values)
            await connection.execute(sql.DELETE_RUNS, values)
            await self._audit(connection, "gc.run", [run.hex for run in runs])
        return len(runs)

    async def _delete_models(self, found: Sequence[tuple[str, int]], cutoff: int) -> int:
        folders = [model_folder(experiment, model) for model, experiment in found]
        async with self._locked(folders) as connection:
            values = self._values(models=[model for model, _ in found], cutoff=cutoff)
            locked = [model for (model,) in await _fetch(connection, sql.LOCK_MODELS, values)]
            values = self._values(models=locked)
            rows = await _fetch(connection, sql.DELETE_UNUSED_MODELS, values)
            deleted = [model for (model,) in rows]
            self._report.kept += len(locked) - len(deleted)
            await self._audit(connection, "gc.logged_model", deleted)
        return len(deleted)

    async def _delete_experiment(self, experiment: int) -> int:
        async with self._database.write_pipeline(self._tenant) as connection:
            values = self._values(experiment=experiment)
            deleted = await _fetch(connection, sql.DELETE_EXPERIMENT, values)
            await self._audit(connection, "gc.experiment", [str(number) for (number,) in deleted])
        return len(deleted)

    async def _audit(self, connection: Pipeline, action: str, targets: Sequence[str]) -> None:
        for target in targets:
            await trail.record(connection, self._tenant, action, target)

    async def _folders_without_owner(self) -> AsyncIterator[list[str]]:
        """Folders that have files and whose run or model is deleted, page by page."""
        after = ""
        while page := await self._rows(sql.OWNERS, after=after, limit=_OWNERS_PER_PAGE):
            if folders := [folder for folder, gone in page if gone]:
                yield folders
            after = f"{page[-1][0]}0"

    @asynccontextmanager
    async def _locked(self, folders: Sequence[str]) -> AsyncIterator[Pipeline]:
        """A transaction during which no other one writes files in the folders."""
        async with self._database.write_pipeline(self._tenant) as connection:
            await connection.execute(sql.LOCK_FOLDERS, self._values(folders=sorted(folders)))
            yield connection

    async def _pages(self, statement: str, first: object, cutoff: int) -> AsyncIterator[Any]:
        async for page in self._batches(statement, first, cutoff):
            for row in page:
                yield row

    async def _batches(
        self, statement: str, first: object, cutoff: int
    ) -> AsyncIterator[list[Any]]:
        """All rows whose first column is greater than `first`, in its order, in pages."""
        after = first
        while page := await self._rows(statement, after=after, cutoff=cutoff, limit=_PAGE):
            after = page[-1][0]
            yield page

    async def _rows(self, statement: str, **parameters: object) -> list[Any]:
        async with self._database.write_pipeline(self._tenant) as connection:
            return await _fetch(connection, statement, self._values(**parameters))

    async def _execute(self, statement: str, **parameters: object) -> None:
        async with self._database.write_pipeline(self._tenant) as connection:
            await connection.execute(statement, self._values(**parameters))

    def _values(self, **parameters: object) -> dict[str, object]:
        return {"tenant": self._tenant.id, **parameters}


async def _fetch(connection: Pipeline, statement: str, parameters: dict[str, object]) -> list[Any]:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()
