"""A call of every route that names what another tenant has, in every place where it can be named.

`<run>` stands for an id of the other tenant's, or, for comparison, for one that nobody has;
`<own_run>` for one of the caller's. A new route needs a case here: test_routes.py says so.
"""

from tests.contract.isolation.artifact_cases import (
    FILES_OF_RUNS,
    PAGES,
    PRESIGNED,
    PROXIED,
    RUN,
    TRANSFERS,
)
from tests.contract.isolation.case import Case, at, body, makes, point, query
from tests.contract.isolation.graphql_cases import GRAPHQL
from tests.contract.isolation.routes import MLFLOW, PROXY

DATASET = {"name": "<dataset>", "digest": "d", "source_type": "local", "source": "s"}
TAG = {"key": "<tag>", "value": "x"}

EXPERIMENTS = {
    "POST experiments/create": [makes(name="<experiment_name>", tags=[TAG])],
    "GET experiments/get": [query(experiment_id="<experiment>")],
    "GET experiments/get-by-name": [query(experiment_name="<experiment_name>")],
    "POST experiments/update": [body(experiment_id="<experiment>", new_name="x")],
    "POST experiments/delete": [body(experiment_id="<experiment>")],
    "POST experiments/restore": [
        body(experiment_id="<experiment>"),
        body(experiment_id="<deleted_experiment>"),
    ],
    "POST experiments/set-experiment-tag": [
        body(experiment_id="<experiment>", key="k", value="v"),
        body(200, experiment_id="<own_experiment>", key="<tag>", value="v"),
    ],
    "POST experiments/delete-experiment-tag": [
        body(experiment_id="<experiment>", key="<tag>"),
        body(experiment_id="<own_experiment>", key="<tag>"),
    ],
    "POST experiments/search-datasets": [
        body(200, experiment_ids=["<experiment>"]),
        body(200, experiment_ids=["0"]),
    ],
}
for method, make in (("GET", query), ("POST", body)):
    EXPERIMENTS[f"{method} experiments/search"] = [
        make(200),
        make(200, filter="name = '<experiment_name>'"),
        make(200, filter="tags.`<tag>` LIKE '%'", view_type="ALL"),
        make(400, page_token="<experiments_token>"),
        make(400, page_token="<experiments_token>", max_results=1),
    ]

RUNS = {
    "POST runs/create": [
        body(experiment_id="<experiment>"),
        makes(experiment_id="0", tags=[{"key": "mlflow.parentRunId", "value": "<run>"}]),
    ],
    "GET runs/get": [query(run_id="<run>"), query(run_uuid="<run>")],
    "POST runs/search": [
        body(200, experiment_ids=["<experiment>"]),
        body(200, experiment_ids=["0", "<own_experiment>", "<experiment>"], run_view_type="ALL"),
        body(200, experiment_ids=["0"], run_view_type="ALL"),
        body(200, experiment_ids=["<experiment>"], filter="attributes.run_id = '<run>'"),
        body(200, experiment_ids=["0"], filter="metrics.`<metric>` >= 0"),
        body(200, experiment_ids=["0"], filter="params.`<param>` LIKE '%'"),
        body(200, experiment_ids=["0"], filter="tags.`<tag>` LIKE '%'"),
        body(200, experiment_ids=["0"], filter="dataset.name = '<dataset>'"),
        body(200, experiment_ids=["0"], order_by=["metrics.`<metric>` ASC"]),
        body(400, experiment_ids=["<experiment>"], max_results=1, page_token="<runs_token>"),
        body(400, experiment_ids=["0"], page_token="<runs_token>"),
    ],
    "POST runs/log-metric": [
        *(body(**{name: "<run>"}, **point()) for name in ("run_id", "run_uuid")),
        body(run_id="<own_run>", model_id="<model>", **point()),
        body(200, run_id="<own_run>", **point()),
    ],
    "POST runs/log-batch": [
        body(run_id="<run>", metrics=[point()], params=[TAG], tags=[TAG]),
        body(run_id="<run>"),
        body(400, run_uuid="<run>"),
        body(run_id="<own_run>", metrics=[point(model_id="<model>")]),
    ],
    "POST runs/log-model": [
        body(
            run_id="<run>",
            model_json='{"artifact_path": "m", "flavors": {}, "utc_time_created": "x",'
            ' "run_id": "<run>"}',
        )
    ],
    "POST runs/log-inputs": [
        body(run_id="<run>", datasets=[{"dataset": DATASET}]),
        body(run_id="<run>", models=[{"model_id": "<model>"}]),
        body(200, run_id="<own_run>", datasets=[{"dataset": DATASET, "tags": [TAG]}]),
        body(run_id="<own_run>", models=[{"model_id": "<model>"}]),
    ],
    "POST runs/outputs": [
        body(run_id="<run>", models=[{"model_id": "<own_model>", "step": 1}]),
        body(run_id="<own_run>", models=[{"model_id": "<model>", "step": 1}]),
    ],
    "GET artifacts/list": [
        query(run_id="<run>"),
        query(run_uuid="<run>", path="<folder>"),
        query(200, run_id="<own_run>", path="<folder>"),
        query(400, run_id="<own_run>", page_token="<files_token>"),
    ],
    **{
        f"{method} metrics/get-history": [
            query(200, run_id="<run>", metric_key="<metric>"),
            query(200, run_uuid="<run>", metric_key="<metric>", max_results=1),
            query(200, run_id="<own_run>", metric_key="<metric>"),
            query(200, run_id="<run>", metric_key="<metric>", page_token="<own_history_token>"),
        ]
        for method in ("GET", "HEAD")
    },
    "GET metrics/get-history-bulk": [
        query(200, run_id="<run>", metric_key="<metric>"),
        query(200, run_id=["<own_run>", "<run>"], metric_key="<metric>"),
    ],
    "GET metrics/get-history-bulk-interval": [
        query(200, run_ids="<run>", metric_key="<metric>"),
        query(200, run_ids=["<own_run>", "<run>"], metric_key="<metric>", max_results=2),
    ],
}
for route, fields in {
    "runs/update": {"status": "FAILED", "run_name": "x"},
    "runs/delete": {},
    "runs/restore": {},
    "runs/log-parameter": {"key": "<param>", "value": "x"},
    "runs/set-tag": {"key": "<tag>", "value": "x"},
    "runs/delete-tag": {"key": "<tag>"},
}.items():
    RUNS[f"POST {route}"] = [body(**{name: "<run>"}, **fields) for name in ("run_id", "run_uuid")]
RUNS["POST runs/restore"].append(body(run_id="<deleted_run>"))
RUNS["POST runs/delete-tag"].append(body(run_id="<own_run>", key="<tag>"))

MODELS = {
    "POST logged-models": [
        body(experiment_id="<experiment>", name="x"),
        makes(experiment_id="<own_experiment>", name="x", source_run_id="<run>"),
    ],
    "GET logged-models/{model_id}": [at(), query(allow_deleted="true")],
    "PATCH logged-models/{model_id}": [body(status="LOGGED_MODEL_READY")],
    "DELETE logged-models/{model_id}": [at()],
    "PATCH logged-models/{model_id}/tags": [body(tags=[TAG])],
    "DELETE logged-models/{model_id}/tags/{tag_key}": [at(), at(model_id="<own_model>")],
    "POST logged-models/{model_id}/params": [body(params=[{"key": "<param>", "value": "x"}])],
    "GET logged-models/{model_id}/artifacts/directories": [
        query(),
        query(artifact_directory_path="<folder>"),
        Case(200, query={"artifact_directory_path": "<folder>"}, path={"model_id": "<own_model>"}),
        Case(400, query={"page_token": "<files_token>"}, path={"model_id": "<own_model>"}),
    ],
    "POST logged-models/search": [
        body(200, experiment_ids=["<experiment>"]),
        body(200, experiment_ids=["<own_experiment>", "<experiment>"]),
        body(200, experiment_ids=["0"]),
        body(200, experiment_ids=["<experiment>"], filter="model_id = '<model>'"),
        body(200, experiment_ids=["0"], filter="metrics.`<metric>` >= 0"),
        body(
            200,
            experiment_ids=["<experiment>"],
            datasets=[{"dataset_name": "<dataset>"}],
            filter="metrics.`<metric>` >= 0",
        ),
        body(400, experiment_ids=["<experiment>"], max_results=1, page_token="<models_token>"),
    ],
}

_RUN_URI = "mlflow-artifacts:/<run_root>"
_MODEL_URI = "mlflow-artifacts:/<model_root>"
VERSION = {"name": "<registered>", "version": "<version>"}
REGISTRY = {
    "POST registered-models/create": [makes(name="<registered>", tags=[TAG])],
    "GET registered-models/get": [query(name="<registered>"), query(name="<prompt>")],
    "PATCH registered-models/update": [body(name="<registered>", description="x")],
    "POST registered-models/rename": [
        body(name="<registered>", new_name="x"),
        makes(name="<own_registered>", new_name="<registered>"),
    ],
    "DELETE registered-models/delete": [body(name="<registered>"), query(name="<registered>")],
    "GET registered-models/search": [
        query(200),
        query(200, filter="name = '<registered>'"),
        query(200, filter="name LIKE '<registered>%'"),
        query(200, filter="tags.`<tag>` LIKE '%'"),
        query(200, filter="tags.`mlflow.prompt.is_prompt` = 'true'"),
        query(400, page_token="<registered_token>"),
    ],
    "POST registered-models/set-tag": [body(name="<registered>", key="<tag>", value="x")],
    "DELETE registered-models/delete-tag": [
        body(name="<registered>", key="<tag>"),
        query(200, name="<own_registered>", key="<tag>"),
    ],
    "POST registered-models/alias": [
        body(name="<registered>", alias="<alias>", version="<version>"),
    ],
    "DELETE registered-models/alias": [
        query(name="<registered>", alias="<alias>"),
        query(200, name="<own_registered>", alias="<alias>"),
    ],
    "GET registered-models/alias": [
        query(name="<registered>", alias="<alias>"),
        query(400, name="<own_registered>", alias="<alias>"),
    ],
    "POST model-versions/create": [
        body(name="<registered>", source="s3://bucket/model"),
        body(400, name="<own_registered>", source="runs:/<run>/model"),
        # Which clients resolve for themselves; nothing is read from it here.
        makes(name="<own_registered>", source="runs:/<run>/model", run_id="<run>"),
        body(400, name="<own_registered>", source=f"{_RUN_URI}/x", run_id="<run>"),
        body(
            400,
            name="<own_registered>",
            source="mlflow-artifacts:/<model_root>",
            model_id="<model>",
        ),
        body(name="<own_registered>", source="models:/<model>", model_id="<model>"),
        body(name="<own_registered>", source="models:/<registered>/<version>"),
        body(name="<own_registered>", source="models:/<registered>@<alias>"),
        body(name="<own_registered>", source="models:/<prompt>/1"),
    ],
    "PATCH model-versions/update": [body(**VERSION, description="x")],
    "GET model-versions/get": [query(**VERSION), query(name="<prompt>", version="1")],
    "DELETE model-versions/delete": [body(**VERSION), query(**VERSION)],
    "GET model-versions/search": [
        query(200),
        query(200, filter="name = '<registered>'"),
        query(200, filter="run_id = '<run>'"),
        query(200, filter="tags.`<tag>` LIKE '%'"),
        query(400, page_token="<versions_token>"),
    ],
    "GET model-versions/get-download-uri": [query(**VERSION)],
    "POST model-versions/transition-stage": [
        body(**VERSION, stage="Production", archive_existing_versions=True)
    ],
    "POST model-versions/set-tag": [body(**VERSION, key="<tag>", value="x")],
    "DELETE model-versions/delete-tag": [body(**VERSION, key="<tag>"), query(**VERSION, key="k")],
}
for method, make in (("GET", query), ("POST", body)):
    REGISTRY[f"{method} registered-models/get-latest-versions"] = [
        make(name="<registered>"),
        make(name="<registered>", stages=["None"]),
    ]

# What is not kept: the answers are the same for any ids.
_ANY_SEARCH = {"filter": "run_id = '<run>'", "page_token": "<runs_token>"}
_ANY_SEARCHED = {"filter_string": "name = '<dataset>'", "page_token": "<runs_token>"}
_LOCATION = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "<experiment>"}}
NOT_KEPT = {
    "GET traces": [query(200, experiment_ids="<experiment>", **_ANY_SEARCH)],
    "POST traces/search": [body(200, locations=[_LOCATION], **_ANY_SEARCH)],
    "POST traces/metrics": [
        body(
            200,
            experiment_ids=["<experiment>"],
            view_type="TRACES",
            metric_name="trace_count",
            aggregations=[{"aggregation_type": "COUNT"}],
            page_token="<runs_token>",
        )
    ],
    "GET scorers/list": [
        query(200, experiment_id="<experiment>"),
        query(200, experiment_ids=["<experiment>"]),
    ],
    "GET datasets/search": [query(200, experiment_ids="<experiment>", **_ANY_SEARCHED)],
    "POST datasets/search": [body(200, experiment_ids=["<experiment>"], **_ANY_SEARCHED)],
    "POST issues/search": [body(200, experiment_id="<experiment>", **_ANY_SEARCHED)],
    **{
        f"GET {path}": [query(200)]
        for path in (
            *("assistant/config", "assistant/providers"),
            *("gateway/secrets/config", "gateway-proxy", "ui-telemetry"),
        )
    },
    "POST ui-telemetry": [body(200, records=[{"params": {"run_id": "<run>"}}])],
}

_OWN = {"run_id": "<own_run>"}
WORKBENCH = {
    "POST /api/v1/experiments": [makes(201, name="<experiment_name>")],
    "GET /api/v1/experiments": [
        query(200, lifecycle_stage="all"),
        query(200, search="<experiment_name>", lifecycle_stage="all"),
    ],
    "GET /api/v1/experiments/{experiment_id}": [at()],
    "PATCH /api/v1/experiments/{experiment_id}": [body(name="x", tags={"<tag>": None})],
    "DELETE /api/v1/experiments/{experiment_id}": [at()],
    "POST /api/v1/experiments/{experiment_id}/restore": [
        at(),
        at(experiment_id="<deleted_experiment>"),
    ],
    "POST /api/v1/experiments/runs": [
        body(experiment_id="<experiment>", name="x"),
        body(experiment_id="<own_experiment>", parent_run_id="<run>"),
    ],
    "GET /api/v1/experiments/runs": [
        query(200),
        query(200, experiment_id="<experiment>", lifecycle_stage="all"),
        query(200, experiment_id=["<own_experiment>", "<experiment>"]),
        query(200, filter="attributes.run_id = '<run>'"),
        query(200, filter="tags.`<tag>` LIKE '%'", order_by="metrics.`<metric>` DESC"),
    ],
    "POST /api/v1/experiments/runs/compare": [
        body(run_ids=["<run>", "<second_run>"]),
        body(run_ids=["<own_run>", "<run>"], metrics=["<metric>"]),
    ],
    "GET /api/v1/audit": [
        query(200, target="<run>"),
        query(200, target="<deleted_run>"),
        query(200, actor="trk_<tenant>_<key>"),
        query(422, page_token="<audit_token>x"),
    ],
    f"GET {RUN}": [at()],
    f"PATCH {RUN}": [body(name="x", tags={"<tag>": None})],
    f"DELETE {RUN}": [at()],
    f"POST {RUN}/restore": [at(), at(run_id="<deleted_run>")],
    f"POST {RUN}/end": [at(), body(status="failed")],
    f"POST {RUN}/log-metrics": [body(metrics={"<metric>": 1})],
    f"POST {RUN}/log-params": [body(params={"<param>": "x"})],
    f"POST {RUN}/log-batch": [
        body(metrics={"<metric>": 1}, params={"<param>": "x"}, tags={"<tag>": "x"})
    ],
    f"GET {RUN}/metrics/{{key}}": [at(), Case(200, path=_OWN)],
}


def _named(prefix: str, cases: dict[str, list[Case]]) -> dict[str, list[Case]]:
    return {route.replace(" ", f" {prefix}/", 1): made for route, made in cases.items()}


CASES = (
    _named(MLFLOW, EXPERIMENTS | RUNS | MODELS | REGISTRY | PRESIGNED | PAGES | NOT_KEPT)
    | GRAPHQL
    | _named(PROXY, PROXIED | TRANSFERS)
    | WORKBENCH
    | FILES_OF_RUNS
)

# About a tenant as such. Without authentication whoever reaches the port is the operator, and these
# are his. With keys, a key is for its own tenant: 403, whether or not there is one of that name.
MANAGED = "/api/v1/admin/tenants/{tenant}"
_MINE = {"tenant": "<own_tenant>"}
DIRECTORY = {
    f"GET {MLFLOW}/workspaces": [query(200)],
    f"POST {MLFLOW}/workspaces": [body(403, name="<tenant>")],
    f"GET {MLFLOW}/workspaces/{{workspace_name}}": [at(403)],
    f"PATCH {MLFLOW}/workspaces/{{workspace_name}}": [body(403, description="x")],
    f"DELETE {MLFLOW}/workspaces/{{workspace_name}}": [query(403, mode="CASCADE")],
    "GET /api/v1/admin/audit": [query(403), query(403, tenant="<tenant>", target="<run>")],
    "GET /api/v1/admin/tenants": [query(403)],
    "POST /api/v1/admin/tenants": [body(403, slug="<tenant>")],
    f"GET {MANAGED}": [at(403)],
    f"PATCH {MANAGED}": [body(403, description="x", quotas={"runs": 0})],
    f"DELETE {MANAGED}": [query(403, cascade=True)],
    f"GET {MANAGED}/usage": [at(403)],
    f"GET {MANAGED}/keys": [at(403)],
    f"POST {MANAGED}/keys": [body(403, role="admin")],
    f"GET {MANAGED}/keys/{{key_id}}": [at(403), at(404, **_MINE)],
    f"POST {MANAGED}/keys/{{key_id}}/rotate": [at(403), at(404, **_MINE)],
    f"DELETE {MANAGED}/keys/{{key_id}}": [at(403), at(404, **_MINE)],
}

# Routes that are about no tenant's data: they answer everybody the same.
OF_NO_TENANT = {
    *("GET /", "GET /health", "GET /ready", "GET /version", "GET /docs", "GET /docs.js"),
    *("GET /openapi.json", "HEAD /openapi.json", "GET /static-offline-docs/{path}", "GET /metrics"),
    *("GET /api/v1/version", "GET /run-page.js", "GET /run-page.css"),
    f"GET {MLFLOW}/server-info",
}
