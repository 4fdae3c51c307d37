"""The statements of a run's inputs and outputs, each with what it is for."""

# Lock one run for the rest of the transaction, and raise its version.
LOCK_RUN = """
UPDATE runs SET version = version + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
RETURNING experiment_id, deleted_time
"""

# Enter the datasets that the experiment does not have yet. They come sorted, so that two runs
# that log the same ones wait for each other in one order.
ADD_DATASETS = """
INSERT INTO datasets
    (tenant_id, experiment_id, dataset_id, name, digest, source_type, source, schema, profile)
SELECT %(tenant)s, %(experiment)s, *
FROM unnest(
    %(ids)s::uuid[], %(names)s::text[], %(digests)s::text[], %(source_types)s::text[],
    %(sources)s::text[], %(schemas)s::text[], %(profiles)s::text[]
)
ON CONFLICT (tenant_id, experiment_id, name, digest) DO NOTHING
"""

# Make datasets a run's inputs. The tags, each with the number of its dataset counted from 1, go
# to those that were not its inputs before.
ADD_INPUTS = """
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

# Link models to a run; an output that is logged again takes the later step.
LINK_MODELS = """
INSERT INTO run_models (tenant_id, run_id, direction, model_id, step)
SELECT %(tenant)s, %(run)s, %(direction)s, * FROM unnest(%(models)s::text[], %(steps)s::bigint[])
ON CONFLICT (tenant_id, run_id, direction, model_id) DO UPDATE SET step = EXCLUDED.step
"""

# The datasets of experiments, with each context that some run used them in.
SEARCH_DATASETS = """
SELECT DISTINCT d.experiment_id, d.name, d.digest, t.value
FROM datasets d
JOIN inputs i USING (tenant_id, dataset_id)
LEFT JOIN input_tags t ON (t.tenant_id, t.run_id, t.dataset_id, t.key)
    = (i.tenant_id, i.run_id, i.dataset_id, %(context)s)
WHERE d.tenant_id = %(tenant)s AND d.experiment_id = ANY(%(experiments)s::bigint[])
ORDER BY 1, 2, 3, 4
LIMIT %(limit)s
"""
