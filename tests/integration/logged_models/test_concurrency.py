"""Locks that the writes of logged models and of datasets wait for."""

import asyncio

import pytest
from sqlalchemy import insert, update

from app.db.database import Database
from app.db.tables.experiments import Experiment
from app.db.tables.runs import Dataset
from app.kernel.errors import ConflictError, InvalidStateError
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.runs.entities import DatasetInput
from app.services import Services
from tests.conftest import Postgres
from tests.support.waiting import until_lock_waits


class TestCreate:
    async def test_waits_for_its_experiment_to_be_deleted(
        self, database: Database, services: Services, tenant: Tenant, postgres: Postgres
    ) -> None:
        async with database.write(tenant) as connection:
            await connection.execute(
                update(Experiment).where(Experiment.experiment_id == 0).values(deleted_time=1)
            )
            create = asyncio.create_task(services.models.create(tenant, "0"))
            await until_lock_waits(postgres.app_url)
        with pytest.raises(InvalidStateError):
            await create


class TestLogParams:
    async def test_one_of_several_values_wins(self, services: Services, tenant: Tenant) -> None:
        model = await services.models.create(tenant, "0")
        results = await asyncio.gather(
            *(services.models.log_params(tenant, model.model_id, {"k": str(n)}) for n in range(8)),
            return_exceptions=True,
        )
        assert [type(one) for one in results if one] == [ConflictError] * 7
        stored = await services.models.get(tenant, model.model_id)
        assert stored.params == {"k": str(results.index(None))}


class TestLogInputs:
    async def test_datasets_are_entered_in_one_order(
        self, database: Database, services: Services, tenant: Tenant, postgres: Postgres
    ) -> None:
        """In any order, one that locked `b` and waits for `a` could deadlock with one that locked
        `a` and waits for `b`."""
        run = await services.runs.create(tenant, "0")
        datasets = [DatasetInput(name, "g", "local", "s", None, None, {}) for name in "ba"]
        async with database.write(tenant) as connection:
            await connection.execute(insert(Dataset).values(row(tenant, "a")))
            log = asyncio.create_task(
                services.inputs.log_inputs(tenant, run.run_id.hex, datasets=datasets)
            )
            await until_lock_waits(postgres.app_url)
            await connection.execute(insert(Dataset).values(row(tenant, "b")))
            assert not log.done()
        await log
        logged = await services.runs.get(tenant, run.run_id.hex)
        assert [(one.name, one.source) for one in logged.dataset_inputs] == [
            ("a", "earlier"),
            ("b", "earlier"),
        ]


def row(tenant: Tenant, name: str) -> dict[str, object]:
    return {
        "tenant_id": tenant.id,
        "dataset_id": new_uuid(),
        "experiment_id": 0,
        "name": name,
        "digest": "g",
        "source_type": "local",
        "source": "earlier",
    }
