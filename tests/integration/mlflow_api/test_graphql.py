"""GraphQL: what MLflow's page asks, and queries that are meant to do harm."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.mlflow.graphql_api import document, projection, route
from app.kernel.tenant import Tenant
from tests.integration.mlflow_api.model_calls import dataset
from tests.integration.mlflow_api.tracking_calls import NO_RUN, missing, ok, post

GRAPHQL = "/graphql"

# As MLflow's page asks for the run that it shows.
GET_RUN = """
query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) {
    __typename
    apiError { helpUrl code message }
    run {
      info { runName status runUuid experimentId artifactUri endTime lifecycleStage startTime }
      experiment { experimentId name tags { key value } artifactLocation lifecycleStage }
      modelVersions { status version name source }
      data { ...Logged }
      inputs {
        datasetInputs {
          dataset { digest name profile schema source sourceType }
          tags { key value }
        }
        modelInputs { modelId }
      }
      outputs { modelOutputs { modelId step } }
    }
  }
}
fragment Logged on MlflowRunData {
  metrics { key value step timestamp }
  params { key value }
  tags { key value }
}
"""


async def ask(client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    answer = await client.post(GRAPHQL, json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def data(client: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    answer = await ask(client, query, **variables)
    assert answer["errors"] is None
    return answer["data"]


async def refused(client: httpx.AsyncClient, query: str, *words: str, **variables: Any) -> None:
    answer = await ask(client, query, **variables)
    assert answer["data"] is None
    assert answer["errors"]
    for word in words:
        assert word in answer["errors"][0]


async def create_run(client: httpx.AsyncClient, **fields: Any) -> str:
    made = ok(await post(client, "runs/create", experiment_id="0", **fields))
    return made["run"]["info"]["run_id"]


def root_field(query: str, field: str = "mlflowGetRun") -> str:
    return f"{{ {field}(input: {{runId: {json.dumps(NO_RUN)}}}) {query} }}"


class TestRuns:
    async def test_as_the_page_asks(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        run_id = await create_run(client, run_name="one", start_time=5)
        point = {"key": "m", "value": 0.5, "timestamp": 7, "step": 2**60}
        await post(
            client,
            "runs/log-batch",
            run_id=run_id,
            metrics=[point],
            params=[{"key": "p", "value": "1"}],
        )
        await post(client, "runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset()}])
        await post(client, "registered-models/create", name="a model")
        source = f"runs:/{run_id}/model"
        made = ok(
            await post(
                client, "model-versions/create", name="a model", source=source, run_id=run_id
            )
        )
        found = (await data(client, GET_RUN, data={"runId": run_id}))["mlflowGetRun"]
        assert found["__typename"] == "MlflowGetRunResponse"
        assert found["apiError"] is None
        run = found["run"]
        assert run["info"] == {
            "runName": "one",
            "status": "RUNNING",
            "runUuid": run_id,
            "experimentId": "0",
            "artifactUri": run["info"]["artifactUri"],
            "endTime": "0",
            "lifecycleStage": "active",
            "startTime": "5",
        }
        assert run["experiment"]["name"] == "Default"
        assert run["modelVersions"] == [
            {
                "status": "READY",
                "version": "1",
                "name": "a model",
                "source": made["model_version"]["source"],
            }
        ]
        assert run["data"]["metrics"] == [
            {"key": "m", "value": 0.5, "step": str(2**60), "timestamp": "7"}
        ]
        assert run["data"]["params"] == [{"key": "p", "value": "1"}]
        assert {"key": "matih.tenant_id", "value": tenant.slug} in run["data"]["tags"]
        (inputs,) = run["inputs"]["datasetInputs"]
        assert inputs == {
            "dataset": {
                "digest": "g",
                "name": "d",
                "profile": "",
                "schema": "",
                "source": "s",
                "sourceType": "local",
            },
            "tags": [],
        }
        assert run["outputs"] == {"modelOutputs": []}

    async def test_numbers_that_json_lacks(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        values = {"nan": "NaN", "inf": "Infinity", "minus": "-Infinity"}
        for key, value in values.items():
            await post(client, "runs/log-metric", run_id=run_id, key=key, value=value, timestamp=1)
        query = """query($id: String) {
            mlflowGetRun(input: {runId: $id}) { run { data { metrics { key value } } } }
        }"""
        found = (await data(client, query, id=run_id))["mlflowGetRun"]["run"]["data"]["metrics"]
        shown = {metric["key"]: metric["value"] for metric in found}
        assert shown == {
            "nan": None,
            "inf": 1.7976931348623157e308,
            "minus": -1.7976931348623157e308,
        }

    async def test_searches(self, client: httpx.AsyncClient) -> None:
        for number in range(3):
            await create_run(client, run_name=f"r{number}", start_time=number + 1)
        query = """query($data: MlflowSearchRunsInput!) {
            mlflowSearchRuns(input: $data) {
                runs { info { runName } experiment { name } } nextPageToken
            }
        }"""
        message = {
            "experimentIds": ["0"],
            "maxResults": 2,
            "orderBy": ["attributes.start_time"],
            "runViewType": "ACTIVE_ONLY",
            "filter": "attributes.run_name LIKE 'r%'",
        }
        found = (await data(client, query, data=message))["mlflowSearchRuns"]
        assert [run["info"]["runName"] for run in found["runs"]] == ["r0", "r1"]
        assert {run["experiment"]["name"] for run in found["runs"]} == {"Default"}
        message["pageToken"] = found["nextPageToken"]
        found = (await data(client, query, data=message))["mlflowSearchRuns"]
        assert [run["info"]["runName"] for run in found["runs"]] == ["r2"]
        assert found["nextPageToken"] == ""
        as_mutation = query.replace("query(", "mutation(")
        assert (await data(client, as_mutation, data=message))["mlflowSearchRuns"] == found

    async def test_many_metrics(self, client: httpx.AsyncClient) -> None:
        """More than one slice of a list."""
        run_id = await create_run(client)
        keys = [f"m{number:05}" for number in range(3_000)]
        for start in range(0, len(keys), 1000):
            points = [
                {"key": key, "value": 1, "timestamp": 1} for key in keys[start : start + 1000]
            ]
            ok(await post(client, "runs/log-batch", run_id=run_id, metrics=points))
        found = await data(client, GET_RUN, data={"runId": run_id})
        metrics = found["mlflowGetRun"]["run"]["data"]["metrics"]
        assert sorted(metric["key"] for metric in metrics) == keys


class TestOthers:
    async def test_experiments(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        query = """query Q($input: MlflowGetExperimentInput!) {
            mlflowGetExperiment(input: $input) {
                apiError { code }
                experiment { experimentId name creationTime workspace tags { key } }
            }
        }"""
        found = (await data(client, query, input={"experimentId": "0"}))["mlflowGetExperiment"]
        assert found["experiment"]["name"] == "Default"
        assert found["experiment"]["workspace"] == tenant.slug
        assert int(found["experiment"]["creationTime"]) > 0
        assert found["experiment"]["tags"] == [{"key": "matih.tenant_id"}]

    async def test_artifacts(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        root = f"/api/2.0/mlflow-artifacts/artifacts/experiments/0/runs/{run_id}/artifacts"
        assert (await client.put(f"{root}/a.txt", content=b"abc")).status_code == 200
        assert (await client.put(f"{root}/folder/b.txt", content=b"")).status_code == 200
        query = """query($id: String, $path: String) {
            mlflowListArtifacts(input: {runId: $id, path: $path}) {
                rootUri files { path isDir fileSize }
            }
        }"""
        found = (await data(client, query, id=run_id))["mlflowListArtifacts"]
        assert found["rootUri"].endswith(f"/{run_id}/artifacts")
        assert found["files"] == [
            {"path": "a.txt", "isDir": False, "fileSize": "3"},
            {"path": "folder", "isDir": True, "fileSize": "0"},
        ]

    async def test_histories(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        points = [{"key": "m", "value": step, "timestamp": 1, "step": step} for step in range(20)]
        await post(client, "runs/log-batch", run_id=run_id, metrics=points)
        query = """query($data: MlflowGetMetricHistoryBulkIntervalInput!) {
            mlflowGetMetricHistoryBulkInterval(input: $data) { metrics { step value runId key } }
        }"""
        message = {"runIds": [run_id], "metricKey": "m", "maxResults": 100}
        found = await data(client, query, data=message | {"startStep": 3, "endStep": 4})
        assert found["mlflowGetMetricHistoryBulkInterval"]["metrics"] == [
            {"step": str(step), "value": step, "runId": run_id, "key": "m"} for step in (3, 4)
        ]

    async def test_datasets(self, client: httpx.AsyncClient) -> None:
        run_id = await create_run(client)
        await post(client, "runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset()}])
        query = """mutation { mlflowSearchDatasets(input: {experimentIds: ["0"]}) {
            datasetSummaries { experimentId name digest context } } }"""
        assert (await data(client, query))["mlflowSearchDatasets"]["datasetSummaries"] == [
            {"experimentId": "0", "name": "d", "digest": "g", "context": ""}
        ]

    async def test_model_versions(self, client: httpx.AsyncClient) -> None:
        await post(client, "registered-models/create", name="m")
        run_id = await create_run(client)
        source = f"runs:/{run_id}/model"
        ok(await post(client, "model-versions/create", name="m", source=source, run_id=run_id))
        query = """{ mlflowSearchModelVersions(input: {filter: "name = 'm'", maxResults: 5}) {
            modelVersions { name version status aliases description modelMetrics { key } } } }"""
        assert (await data(client, query))["mlflowSearchModelVersions"]["modelVersions"] == [
            {
                "name": "m",
                "version": "1",
                "status": "READY",
                "aliases": [],
                "description": "",
                "modelMetrics": [],
            }
        ]

    async def test_echoes(self, client: httpx.AsyncClient) -> None:
        assert await data(client, '{ test(inputString: "a") { output } }') == {
            "test": {"output": "a"}
        }
        assert await data(client, 'mutation { x: testMutation(inputString: "b") { output } }') == {
            "x": {"output": "b"}
        }


class TestTheLanguage:
    async def test_fields_that_are_merged_skipped_and_renamed(
        self, client: httpx.AsyncClient
    ) -> None:
        run_id = await create_run(client, run_name="one")
        query = """query Q($id: String, $no: Boolean = false) {
            a: mlflowGetRun(input: {runId: $id}) { run { info { name: runName } } }
            a: mlflowGetRun(input: {runId: $id}) { run { ... { info { runId } } } }
            mlflowGetRun(input: {runId: $id}) @include(if: $no) { __typename }
            __typename
        }"""
        assert await data(client, query, id=run_id) == {
            "a": {"run": {"info": {"name": "one", "runId": run_id}}},
            "__typename": "Query",
        }

    async def test_operations_by_name(self, client: httpx.AsyncClient) -> None:
        query = '{0} A {{ test(inputString: "a") {{ output }} }} {0} B {{ __typename }}'
        message = {"query": query.format("query"), "operationName": "B"}
        answer = await client.post(GRAPHQL, json=message)
        assert answer.json() == {"data": {"__typename": "Query"}, "errors": None}
        for name in (None, "C"):
            answer = await client.post(GRAPHQL, json=message | {"operationName": name})
            assert answer.status_code == 200
            assert answer.json()["data"] is None

    async def test_one_field_fails_and_the_others_do_not(self, client: httpx.AsyncClient) -> None:
        failing = root_field("{ run { info { runId } } }").removeprefix("{")
        query = '{ a: test(inputString: "a") { output }' + failing
        answer = await ask(client, query)
        assert answer["data"] == {"a": {"output": "a"}, "mlflowGetRun": None}
        assert answer["errors"] == [f"Run with id={NO_RUN} not found"]

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("", None),
            ("{", "Syntax Error"),
            ("{ nothing }", "Cannot query field 'nothing'"),
            ("subscription { x }", ""),
            ("{ mlflowGetRun { run } }", "must have a selection"),
            ("query($a: Nothing) { __typename }", "Nothing"),
            ("{ __schema { types { name } } }", "introspection"),
            ('{ __type(name: "Query") { name } }', "introspection"),
            ("type A { b: Int }", ""),
            ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "Cannot spread"),
            ("{ test(inputString: 1) { output } }", "String cannot represent"),
        ],
    )
    async def test_what_is_no_query(
        self, client: httpx.AsyncClient, query: str, words: str | None
    ) -> None:
        if words is None:
            missing(await client.post(GRAPHQL, json={"query": query}), "query")
        else:
            await refused(client, query, words)

    async def test_variables_of_another_type(self, client: httpx.AsyncClient) -> None:
        await refused(client, GET_RUN, "$data")
        await refused(client, GET_RUN, "got invalid value 1", data=1)
        await refused(client, GET_RUN, "is not defined", data={"nothing": 1})
        answer = await client.post(GRAPHQL, json={"query": "{ __typename }", "variables": []})
        assert answer.status_code == 400
        assert "variables" in answer.json()["message"]

    async def test_no_get(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(GRAPHQL, params={"query": "{ __typename }"})
        assert answer.status_code == 405
        assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


class TestLimits:
    async def test_root_fields_and_aliases(self, client: httpx.AsyncClient) -> None:
        """The same numbers as MLflow's, also where fragments hide them."""
        fields = [f"a{number}: __typename" for number in range(11)]
        await refused(client, "{" + " ".join(fields) + "}", "10 root fields")
        spread = "{ ...A ...B } fragment A on Query { %s } fragment B on Query { %s }"
        await refused(client, spread % (" ".join(fields[:6]), " ".join(fields[6:])), "10 root")
        below = root_field(
            "{ run { " + " ".join(f"a{n}: info {{ runId }}" for n in range(11)) + "}}"
        )
        await refused(client, below, "10 aliases")

    async def test_selections(self, client: httpx.AsyncClient) -> None:
        await refused(client, root_field("{" + "__typename " * 151 + "}"), "150 selections")
        await refused(client, "{" + "a " * 1001 + "}", "tokens")
        nested = "".join(
            f"fragment F{n} on MlflowRunInfo"
            f" {{ ...F{n + 1} ...on MlflowRunInfo {{ ...F{n + 1} }} }} "
            for n in range(12)
        )
        query = root_field("{ run { info { ...F0 } } }") + nested
        await refused(client, query + "fragment F12 on MlflowRunInfo { runId }", "1000 selections")

    async def test_depth(self, client: httpx.AsyncClient) -> None:
        await refused(client, "{a" * 11 + "}" * 11, "Cannot query field")
        await refused(client, "{a" * 300 + "}" * 300, "nested too deeply")
        value = "[" * 300 + "]" * 300
        await refused(client, f"{{ test(inputString: {value}) {{ output }} }}", "nested too deeply")
        query = "query($a: [String]) { __typename }"
        variables = '{"a": ' + "[" * 5000 + "]" * 5000 + "}"
        body = f'{{"query": "{query}", "variables": {variables}}}'
        answer = await client.post(
            GRAPHQL, content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (200, 400)
        assert answer.json().get("data") is None

    async def test_sizes(self, client: httpx.AsyncClient) -> None:
        spaces = " " * document.MAX_LENGTH
        await refused(client, "{ __typename }" + spaces, "code points")
        await refused(client, "#\n" * 200 + "{ __typename }", "comments")
        long = {"query": "{ __typename }" + " " * route.MAX_BODY_BYTES}
        assert (await client.post(GRAPHQL, json=long)).status_code == 413

    async def test_of_the_answer(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(projection, "MAX_BYTES", 1000)
        run_id = await create_run(client)
        params = [{"key": f"p{number}", "value": "x" * 50} for number in range(20)]
        await post(client, "runs/log-batch", run_id=run_id, params=params)
        answer = await ask(client, GET_RUN, data={"runId": run_id})
        assert answer["data"] == {"mlflowGetRun": None}
        assert "more than 1000 bytes" in answer["errors"][0]

    async def test_of_what_is_looked_up(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Model versions cost a search for each run; the experiment of all of them, one."""
        monkeypatch.setattr(route, "MAX_LOOKUPS", 3)
        for _ in range(4):
            await create_run(client)
        query = '{ mlflowSearchRuns(input: {experimentIds: ["0"]}) { runs { %s } } }'
        found = await data(client, query % "experiment { name }")
        assert len(found["mlflowSearchRuns"]["runs"]) == 4
        answer = await ask(client, query % "modelVersions { name }")
        assert "ask for fewer runs" in answer["errors"][0]


NAMES = st.sampled_from(
    [
        *("mlflowGetRun", "mlflowSearchRuns", "mlflowGetExperiment", "mlflowListArtifacts", "test"),
        *("run", "runs", "info", "data", "metrics", "tags", "key", "value", "experiment"),
        *("__typename", "modelVersions", "files", "...A", "...B", "... on MlflowRunInfo", "a: key"),
    ]
)
ARGUMENTS = st.sampled_from(
    [
        *("", "(input: $a)", "(input: {runId: $b})", '(input: {runId: "x"})', "(input: 1)"),
        *("(input: {experimentIds: [1]})", "(input: {maxResults: -1})", "(inputString: $b)"),
        *("(input: {pageToken: $b})", "(input: null)", "@skip(if: $c)"),
    ]
)
SELECTIONS = st.recursive(
    st.builds("{} {}".format, NAMES, ARGUMENTS),
    lambda inner: st.builds(
        lambda name, argument, fields: f"{name} {argument} {{ {' '.join(fields)} }}",
        NAMES,
        ARGUMENTS,
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=20,
)
QUERIES = st.builds(
    lambda head, fields, a, b: (
        f"{head} {{ {' '.join(fields)} }} fragment A on MlflowRunInfo {{ {a} }}"
        f" fragment B on Query {{ {b} }}"
    ),
    st.sampled_from(
        [
            "query($a: MlflowGetRunInput, $b: String, $c: Boolean = true)",
            "mutation($a: MlflowSearchRunsInput, $b: String = null)",
            "",
        ]
    ),
    st.lists(SELECTIONS, min_size=1, max_size=4),
    SELECTIONS,
    SELECTIONS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["runId", "experimentIds", "maxResults"]), inner)
    ),
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    query=QUERIES | st.text(max_size=30), variables=st.dictionaries(st.sampled_from("abc"), JSON)
)
async def test_no_query_makes_the_server_fail(
    client: httpx.AsyncClient, query: str, variables: dict[str, Any]
) -> None:
    answer = await client.post(
        GRAPHQL,
        content=json.dumps({"query": query, "variables": variables}),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200:
        assert answer.json()["errors"] is None or answer.json()["errors"]
    else:
        assert answer.json()["message"]


async def test_valid_queries_of_every_shape(client: httpx.AsyncClient) -> None:
    """All that the schema has, in one query of each root field."""
    run_id = await create_run(client)
    values = {
        "mlflowGetRun": {"runId": run_id},
        "mlflowSearchRuns": {"experimentIds": ["0"]},
        "mlflowGetExperiment": {"experimentId": "0"},
        "mlflowListArtifacts": {"runId": run_id},
        "mlflowSearchModelVersions": {},
        "mlflowSearchDatasets": {"experimentIds": ["0"]},
        "mlflowGetMetricHistoryBulkInterval": {
            "runIds": [run_id],
            "metricKey": "m",
            "maxResults": 1,
        },
    }
    for kind, root in (
        ("query", document.SCHEMA.query_type),
        ("mutation", document.SCHEMA.mutation_type),
    ):
        assert root is not None
        for name, field in root.fields.items():
            argument, given_ = next(iter(field.args.items()))
            query = f"{kind}($v: {given_.type}) {{ {name}({argument}: $v) {all_of(field.type)} }}"
            await data(client, query, v=values.get(name, "x"))


def all_of(type_: Any) -> str:
    while hasattr(type_, "of_type"):
        type_ = type_.of_type
    if not hasattr(type_, "fields"):
        return ""
    return (
        "{" + " ".join(f"{name} {all_of(field.type)}" for name, field in type_.fields.items()) + "}"
    )
