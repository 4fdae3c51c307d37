"""The inputs and outputs of runs in SQL: datasets and logged models."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.db.binary_arrays import big_integers
from app.db.pipeline import Pipeline
from app.kernel.ids import new_uuid
from app.kernel.tenant import Tenant
from app.runs.entities import DatasetInput

_LOCK_RUN = """
UPDATE runs SET version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
RETURNING experiment_id, deleted_time
"""

# The datasets are sorted, so that two runs that log the same ones lock them in the same order.
_INSERT_DATASETS = """
INSERT INTO datasets
    (tenant_id, experiment_id, dataset_id, name, digest, source_type, source, schema, profile)
SELECT %(tenant)s, %(experiment)s, *
FROM unnest(
    %(ids)s::uuid[], %(names)s::text[], %(digests)s::text[], %(source_types)s::text[],
    %(sources)s::text[], %(schemas)s::text[], %(profiles)s::text[]
)
ON CONFLICT (tenant_id, experiment_id, name, digest) DO NOTHING
"""

# Each tag comes with the number of its dataset, counted from 1. Tags are inserted for the datasets
# that were no inputs of the run before.
_INSERT_INPUTS = """
WITH wanted AS (
    SELECT d.dataset_id, w.number
    FROM unnest(%(names)s::text[], %(digests)s::text[]) WITH ORDINALITY AS w (name, digest, number)
    JOIN datasets d ON d.tenant_id = %(tenant)s AND d.experiment_id = %(experiment)s
        AND (d.name, d.digest) = (w.name, w.digest)
),
added AS (
    INSERT INTO inputs (tenant_id, run_id, dataset_id)
    SELECT %(tenant)s, %(run)s, dataset_id FROM wanted
    ON CONFLICT DO NOTHING
    RETURNING dataset_id
)
INSERT INTO input_tags (tenant_id, run_id, dataset_id, key, value)
SELECT %(tenant)s, %(run)s, dataset_id, tag.key, tag.value
FROM added JOIN wanted USING (dataset_id)
JOIN unnest(%(tag_numbers)s::bigint[], %(tag_keys)s::text[], %(tag_values)s::text[])
    AS tag (number, key, value) USING (number)
"""

_UPSERT_MODEL_LINKS = """
INSERT INTO run_models (tenant_id, run_id, direction, model_id, step)
SELECT %(tenant)s, %(run)s, %(direction)s, * FROM unnest(%(models)s::text[], %(steps)s::bigint[])
ON CONFLICT (tenant_id, run_id, direction, model_id) DO UPDATE SET step = EXCLUDED.step
"""

_SEARCH_DATASETS = """
SELECT DISTINCT d.experiment_id, d.name, d.digest, t.value
FROM datasets d
JOIN inputs i USING (tenant_id, dataset_id)
LEFT JOIN input_tags t ON (t.tenant_id, t.run_id, t.dataset_id, t.key)
    = (i.tenant_id, i.run_id, i.dataset_id, %(context)s)
WHERE d.tenant_id = %(tenant)s AND d.experiment_id = ANY(%(experiments)s::bigint[])
ORDER BY 1, 2, 3, 4
LIMIT %(limit)s
"""


async def lock_run(
    connection: Pipeline, tenant: Tenant, run_id: UUID
) -> tuple[int, int | None] | None:
    """Lock a run until the transaction ends, and raise its version.

    Returns its experiment's id and its deleted_time; None where there is no such run.
    """
    cursor = await connection.execute(_LOCK_RUN, {"tenant": tenant.id, "run": run_id})
    row: tuple[int, int | None] | None = await cursor.fetchone()
    return row


async def insert_datasets(
    connection: Pipeline,
    tenant: Tenant,
    run_id: UUID,
    experiment_id: int,
    datasets: Sequence[DatasetInput],
) -> None:
    """Make datasets inputs of a run of the experiment, with their tags.

    `datasets` are sorted by name and digest, which together identify a dataset. Those that exist in
    the experiment stay as they are, and so do the tags of inputs that the run has already.
    """
    tags = [
        (number, key, value)
        for number, dataset in enumerate(datasets, 1)
        for key, value in dataset.tags.items()
    ]
    values = {
        "tenant": tenant.id,
        "experiment": experiment_id,
        "names": [dataset.name for dataset in datasets],
        "digests": [dataset.digest for dataset in datasets],
    }
    await connection.execute(
        _INSERT_DATASETS,
        values
        | {
            "ids": [new_uuid() for _ in datasets],
            "source_types": [dataset.source_type for dataset in datasets],
            "sources": [dataset.source for dataset in datasets],
            "schemas": [dataset.schema for dataset in datasets],
            "profiles": [dataset.profile for dataset in datasets],
        },
    )
    await connection.execute(
        _INSERT_INPUTS,
        values
        | {
            "run": run_id,
            "tag_numbers": big_integers(number for number, _, _ in tags),
            "tag_keys": [key for _, key, _ in tags],
            "tag_values": [value for _, _, value in tags],
        },
    )


async def link_models(
    connection: Pipeline,
    tenant: Tenant,
    run_id: UUID,
    direction: str,
    steps: Mapping[str, int],
) -> None:
    """Link models to a run, by id, with their steps, as "input" or "output".

    A model that is linked already gets the new step.
    """
    await connection.execute(
        _UPSERT_MODEL_LINKS,
        {
            "tenant": tenant.id,
            "run": run_id,
            "direction": direction,
            "models": list(steps),
            "steps": big_integers(steps.values()),
        },
    )


async def search_datasets(
    connection: Pipeline,
    tenant: Tenant,
    experiment_ids: Sequence[int],
    *,
    context_tag: str,
    limit: int,
) -> list[tuple[Any, ...]]:
    """The first `limit` of (experiment id, name, digest, context) of the experiments' datasets.

    The context is the value of the tag `context_tag` of an input; a dataset comes once for each.
    """
    cursor = await connection.execute(
        _SEARCH_DATASETS,
        {
            "tenant": tenant.id,
            "experiments": big_integers(experiment_ids),
            "context": context_tag,
            "limit": limit,
        },
    )
    return await cursor.fetchall()
