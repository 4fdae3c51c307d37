"""Requests that cannot be decoded: a 4xx in MLflow's shape, and nothing is written."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.mlflow import experiments, inputs, logged_models, metrics, runs
from app.api.mlflow.artifacts import routes as artifact_routes
from app.api.mlflow.router import Endpoint
from app.api.request_body import MAX_BODY_BYTES
from tests.integration.mlflow_api.model_calls import API, invalid, refused
from tests.integration.mlflow_api.tracking_calls import (
    NOTHING,
    data_of,
    experiment_names,
    missing,
    new_experiment,
    new_run,
)

JSON = {"content-type": "application/json"}


async def send(client: httpx.AsyncClient, route: str, body: str | bytes) -> httpx.Response:
    return await client.post(f"{API}/{route}", content=body, headers=JSON)


class TestBody:
    CREATE = "experiments/create"

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ("{", "is not valid JSON"),
            ('{"name": "x"', "is not valid JSON"),
            ('{"name": "x",}', "is not valid JSON"),
            ("name=x", "is not valid JSON"),
            ('{"name": "x"} more', "is not valid JSON"),
            ("{'name': 'x'}", "is not valid JSON"),
            (b'{"name": "\xff"}', "is not valid JSON"),
            (b"\xff", "is not valid JSON"),
            (b"\x00", "is not valid JSON"),
            ("[" * 100_000, "is not valid JSON"),
            ('{"name": "x", "a": ' + "[" * 100_000 + "]" * 100_000 + "}", "is not valid JSON"),
            ('{"name": ' + '{"a":' * 900 + "1" + "}" * 900 + "}", ""),
            ("[]", "must be a JSON object, and is of type 'list'"),
            ("5", "must be a JSON object, and is of type 'int'"),
            ("true", "must be a JSON object, and is of type 'bool'"),
            ('"x"', "is not valid JSON"),
            ('"[]"', "must be a JSON object, and is of type 'list'"),
            ('{"name": "\\ud800"}', "'name' supplied: it holds a NUL character or half of a"),
            ('{"name": "x", "tags": [{"key": "k", "value": "\\udfff"}]}', "'tags[0].value'"),
            ('{"name": "x", "\\ud800": 1}', "'body' supplied: it holds"),
            ('{"name": "x", "tags": [{"\\ud800": 1}]}', "'tags[0]' supplied: it holds"),
            ('{"name": NaN}', "Invalid value NaN for parameter 'name'"),
            ('{"name": -Infinity}', "Invalid value -Infinity for parameter 'name'"),
            ('{"name": ' + "9" * 5000 + "}", "is not valid JSON"),
        ],
    )
    async def test_refused(self, client: httpx.AsyncClient, body: str | bytes, words: str) -> None:
        invalid(await send(client, self.CREATE, body), words)
        assert await experiment_names(client) == ["Default"]

    @pytest.mark.parametrize("body", ["", "{}", "null", '"{}"', '{"other": 1}', '"null"'])
    async def test_empty_message(self, client: httpx.AsyncClient, body: str) -> None:
        missing(await send(client, self.CREATE, body), "name")

    @pytest.mark.parametrize(
        "body",
        [
            '{"name": "x", "tags": null, "unknown": {"a": [null]}}',
            json.dumps('{"name": "x"}'),
            ' \n{"name":"x"}\t',
            '{"name": "y", "name": "x"}',
            '{"name": "\\u0078"}',
            '{"name": "x"}'.encode("utf-16"),
        ],
    )
    async def test_understood(self, client: httpx.AsyncClient, body: str | bytes) -> None:
        """Null means absent, and a string that contains an object means the object."""
        assert (await send(client, self.CREATE, body)).status_code == 200
        assert await experiment_names(client) == ["x", "Default"]

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
    async def test_not_said_to_be_json(self, client: httpx.AsyncClient, content_type: str) -> None:
        headers = {"content-type": content_type}
        url = f"{API}/{self.CREATE}"
        answer = await client.post(url, content='{"name": "x"}', headers=headers)
        invalid(answer, "Content-Type must be one of ['application/json'].")
        assert await experiment_names(client) == ["Default"]

    async def test_too_large(self, client: httpx.AsyncClient) -> None:
        """It cannot have so few bytes without escapes."""
        size = 6 * MAX_BODY_BYTES + 1
        refused(
            await client.post(
                f"{API}/{self.CREATE}",
                content=b"{}",
                headers=JSON | {"content-length": str(size)},
            ),
            413,
            "INVALID_PARAMETER_VALUE",
            f"A request body may have at most {MAX_BODY_BYTES} bytes, got {size}.",
        )

    async def test_long_values_are_not_repeated_whole(self, client: httpx.AsyncClient) -> None:
        answer = await send(client, self.CREATE, json.dumps({"name": ["x" * 100_000]}))
        invalid(answer, "'name'")
        assert len(answer.content) < 1000

    async def test_surrogate_in_a_log(self, client: httpx.AsyncClient) -> None:
        run_id = await new_run(client)
        for route, item, field in (
            ("runs/log-parameter", '"key": "k", "value": "\\ud800"', "'value'"),
            ("runs/set-tag", '"key": "\\ud800", "value": "v"', "'key'"),
            ("runs/log-batch", '"params": [{"key": "k", "value": "\\ud800"}]', "'params[0].value'"),
        ):
            invalid(await send(client, route, f'{{"run_id": "{run_id}", {item}}}'), field)
        assert await data_of(client, run_id) == NOTHING


class TestQuery:
    @pytest.mark.parametrize(
        "query",
        ["experiment_id=%ff", "experiment_id=%00", "experiment_id=%ed%a0%80", "experiment_id=&&="],
    )
    async def test_refused(self, client: httpx.AsyncClient, query: str) -> None:
        answer = await client.get(f"{API}/experiments/get?{query}")
        assert 400 <= answer.status_code < 500
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"

    async def test_unknown_fields(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(f"{API}/experiments/get?experiment_id=0&bogus=1&bogus=2")
        assert answer.status_code == 200

    async def test_body_of_a_get_is_ignored(self, client: httpx.AsyncClient) -> None:
        url = f"{API}/experiments/get?experiment_id=0"
        answer = await client.request("GET", url, content=b"{")
        assert answer.status_code == 200


def endpoints() -> list[tuple[str, str, Endpoint[Any]]]:
    """Every route of the tracking API with its message."""
    tables = (
        experiments.routes,
        runs.routes,
        inputs.routes,
        metrics.routes,
        logged_models.routes,
        artifact_routes,
    )
    return [
        (method, path, endpoint)
        for routes in tables
        for (method, path), endpoint in routes.table.items()
    ]


TEXT = st.text(max_size=5) | st.sampled_from(
    ["\x00", "\ud800", "NaN", "-1", "1e999", "9" * 30, "null", "", "a!b", "../a", "k" * 300, "'\"`"]
)
NUMBER = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 10**40, 0, -0.0])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


# Stand for the ids of what exists.
MARKS = {"experiment_id": "<experiment_id>", "run_id": "<run_id>"}


def message_of(message: type[msgspec.Struct], known: Mapping[str, str]) -> st.SearchStrategy[Any]:
    """Messages with any values in their fields, among them valid ones."""
    fields = {
        # Twice, since only a message that is valid in nearly all fields reaches the handler.
        field.encode_name: st.one_of(ANYTHING, plausible, plausible)
        for field in msgspec.structs.fields(message)
        for plausible in [_plausible(field.encode_name, field.type, known)]
    }
    return st.fixed_dictionaries({}, optional=fields)


def _plausible(name: str, kind: Any, known: Mapping[str, str]) -> st.SearchStrategy[Any]:
    if name in known:
        return st.just(known[name])
    if getattr(kind, "__origin__", None) is list:
        (item,) = kind.__args__
        return st.lists(_plausible(name.removesuffix("s"), item, known), max_size=3)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return message_of(kind, known)
    return st.sampled_from(["k", "1", "name = 'x'", "metrics.m > 1", "ALL"]) | NUMBER


class TestAnyInput:
    """Every answer is JSON and no 5xx, and errors have MLflow's two fields."""

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(data=st.data())
    @pytest.mark.parametrize(("method", "path", "endpoint"), endpoints())
    async def test_no_server_error(
        self,
        client: httpx.AsyncClient,
        data: st.DataObject,
        method: str,
        path: str,
        endpoint: Endpoint[Any],
    ) -> None:
        drawn = json.dumps(data.draw(message_of(endpoint.message, MARKS)))
        # What exists is made for the messages that name it only.
        if any(mark in drawn for mark in MARKS.values()):
            experiment_id = await new_experiment(client, uuid4().hex)
            drawn = drawn.replace(MARKS["experiment_id"], experiment_id)
            if MARKS["run_id"] in drawn:
                drawn = drawn.replace(MARKS["run_id"], await new_run(client, experiment_id))
        message = json.loads(drawn)
        url = f"{API}/{path}"
        if method == "GET":
            fields = {key: _in_query(value) for key, value in message.items()}
            answer = await client.get(url, params=fields)
        else:
            answer = await client.request(method, url, content=drawn, headers=JSON)
        assert answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/json"
        if answer.status_code >= 400:
            assert answer.json().keys() == {"error_code", "message"}


def _in_query(value: Any) -> list[str]:
    """A value as text in a URL, without lone surrogates, which URLs cannot contain."""
    values = value if isinstance(value, list) else [value]
    return [
        str(one).encode("utf-8", "replace").decode() if not isinstance(one, dict) else "{}"
        for one in values
    ]
