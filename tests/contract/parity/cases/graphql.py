"""GraphQL, which MLflow's page asks for an experiment and for a run."""

from typing import Any

from tests.contract.parity.cases.calls import Call, Case, create_experiment, create_run, post

RUN = """
  info { runId runUuid runName status experimentId endTime lifecycleStage startTime userId }
  experiment { experimentId name lifecycleStage }
  modelVersions { status version name source currentStage description runId runLink statusMessage
    aliases tags { key value } userId }
  data { metrics { key value step timestamp } params { key value } }
  inputs {
    datasetInputs { dataset { digest name profile schema source sourceType } tags { key value } }
    modelInputs { modelId }
  }
  outputs { modelOutputs { modelId step } }
"""
GET = f"query($data: MlflowGetRunInput!) {{ mlflowGetRun(input: $data) {{ run {{ {RUN} }} }} }}"
SEARCH = f"""query Runs($data: MlflowSearchRunsInput!) @component(name: "page") {{
  mlflowSearchRuns(input: $data) {{ apiError {{ code message }} runs {{ {RUN} }} }}
}}"""
EXPERIMENT = """query($input: MlflowGetExperimentInput!) { mlflowGetExperiment(input: $input) {
  apiError { code message }
  experiment { experimentId name lifecycleStage effectiveTraceArchivalRetention }
} }"""
DATASETS = """mutation($data: MlflowSearchDatasetsInput!) { mlflowSearchDatasets(input: $data) {
  datasetSummaries { experimentId name digest context } } }"""
HISTORY = """query($data: MlflowGetMetricHistoryBulkIntervalInput!) {
  mlflowGetMetricHistoryBulkInterval(input: $data) {
    __typename metrics { key value step timestamp } }
}"""
ARTIFACTS = """query($data: MlflowListArtifactsInput!) { mlflowListArtifacts(input: $data) {
  files { path isDir fileSize } nextPageToken } }"""
VERSIONS = """query($data: MlflowSearchModelVersionsInput!) {
  mlflowSearchModelVersions(input: $data) {
  modelVersions { name version status modelParams { name value } modelMetrics { key } modelId }
  nextPageToken } }"""


def ask(query: str, **variables: Any) -> Call:
    return Call("POST", "/graphql", {"query": query, "variables": variables})


def point(**fields: Any) -> dict[str, Any]:
    return {"key": "m", "value": 1.5, "timestamp": 5, "step": 2} | fields


CASES: dict[str, Case] = {
    "a run": [
        create_run(run_name="one", start_time=3),
        ask(GET, data={"runId": "$run"}),
        ask(GET, data={"runUuid": "$run"}),
        post(
            "runs/log-batch",
            run_id="$run",
            metrics=[point(), point(key="n", value="NaN"), point(step=3, value=0)],
            params=[{"key": "p", "value": "v"}],
        ),
        post(
            "runs/log-inputs",
            run_id="$run",
            datasets=[
                {
                    "dataset": {"name": "d", "digest": "g", "source_type": "s", "source": "{}"},
                    "tags": [{"key": "mlflow.data.context", "value": "train"}],
                }
            ],
        ),
        post("registered-models/create", name="model"),
        post("model-versions/create", name="model", source="runs:/x", run_id="$run"),
        post("runs/update", run_id="$run", status="FINISHED", end_time=9),
        ask(GET, data={"runId": "$run"}),
        ask(HISTORY, data={"runIds": ["$run"], "metricKey": "m", "maxResults": 10}),
        ask(ARTIFACTS, data={"runId": "$run"}),
        ask(DATASETS, data={"experimentIds": ["0"]}),
        ask(VERSIONS, data={"filter": "name = 'model'", "maxResults": 10}),
        ask(VERSIONS, data={}),
    ],
    "runs": [
        create_run(run_name="one", start_time=3),
        create_run(run_name="two", start_time=4),
        ask(SEARCH, data={"experimentIds": ["0"], "orderBy": ["attributes.start_time"]}),
        ask(SEARCH, data={"experimentIds": ["0"], "filter": "attributes.run_name = 'two'"}),
        ask(SEARCH, data={"experimentIds": []}),
    ],
    "experiments": [
        create_experiment("a"),
        ask(EXPERIMENT, input={"experimentId": "0"}),
        ask(EXPERIMENT, input={"experimentId": "$experiment"}),
    ],
    "what is not there": [
        ask(GET, data={"runId": "0" * 32}),
        ask(EXPERIMENT, input={"experimentId": "7"}),
    ],
    "echoes": [
        ask('query testQuery { test(inputString: "abc") { output } }'),
    ],
    "what is no query": [
        ask("{ nothing }"),
        ask("{ mlflowGetRun { run } }"),
        ask(GET),
        ask(GET, data=1),
    ],
}
