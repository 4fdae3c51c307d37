"""GraphQL queries that name what another tenant has, in each field that can name it."""

from tests.contract.isolation.case import Case, body

RUN = "info { runId runName artifactUri } experiment { name } modelVersions { name } data { "
RUN += "metrics { key } params { key } tags { key value } }"


def asks(field: str, type_: str, selected: str, /, **input_: object) -> Case:
    kind = "mutation" if field == "mlflowSearchDatasets" else "query"
    query = f"{kind}($input: {type_}) {{ {field}(input: $input) {{ {selected} }} }}"
    return body(200, query=query, variables={"input": input_})


def _run(**input_: object) -> Case:
    return asks("mlflowGetRun", "MlflowGetRunInput", f"run {{ {RUN} }}", **input_)


def _runs(**input_: object) -> Case:
    selected = f"runs {{ {RUN} }} nextPageToken"
    return asks("mlflowSearchRuns", "MlflowSearchRunsInput", selected, **input_)


def _files(**input_: object) -> Case:
    selected = "rootUri files { path } nextPageToken"
    return asks("mlflowListArtifacts", "MlflowListArtifactsInput", selected, **input_)


def _versions(**input_: object) -> Case:
    selected = "modelVersions { name version source } nextPageToken"
    return asks("mlflowSearchModelVersions", "MlflowSearchModelVersionsInput", selected, **input_)


GRAPHQL = {
    "POST /graphql": [
        _run(runId="<run>"),
        _run(runUuid="<run>"),
        asks(
            "mlflowGetExperiment",
            "MlflowGetExperimentInput",
            "experiment { name tags { key value } }",
            experimentId="<experiment>",
        ),
        _runs(experimentIds=["<experiment>"]),
        _runs(experimentIds=["0", "<experiment>"], runViewType="ALL"),
        _runs(experimentIds=["0"], filter="attributes.run_id = '<run>'"),
        _runs(experimentIds=["0"], pageToken="<runs_token>"),
        _files(runId="<run>"),
        _files(runUuid="<run>", path="<folder>"),
        _files(runId="<own_run>", path="<folder>"),
        _files(runId="<own_run>", pageToken="<files_token>"),
        _versions(filter="run_id = '<run>'"),
        _versions(filter="name = '<registered>'"),
        _versions(),
        asks(
            "mlflowSearchDatasets",
            "MlflowSearchDatasetsInput",
            "datasetSummaries { name digest }",
            experimentIds=["<experiment>", "0"],
        ),
        asks(
            "mlflowGetMetricHistoryBulkInterval",
            "MlflowGetMetricHistoryBulkIntervalInput",
            "metrics { key value runId }",
            runIds=["<run>", "<own_run>"],
            metricKey="<metric>",
            maxResults=10,
        ),
    ]
}
