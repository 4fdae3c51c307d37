"""The route of GraphQL, and what its fields are answered with."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from graphql import FieldNode, GraphQLError
from graphql.execution.collect_fields import collect_fields
from graphql.execution.values import get_argument_values

from app.api.mlflow import artifacts, experiments, inputs, metrics, model_versions, runs
from app.api.mlflow.decoding import decode_body
from app.api.mlflow.fields import Required
from app.api.mlflow.graphql_api.document import SCHEMA, GraphQLErrors, Operation, operation
from app.api.mlflow.graphql_api.projection import (
    Object,
    Projection,
    Resolve,
    selected,
    snake_case,
)
from app.api.mlflow.router import Answer, Call, Routes
from app.api.streamed_json import StreamedJson
from app.kernel.errors import TooLargeError, TrackingError
from app.kernel.principal import Role

routes = Routes()

MAX_BODY_BYTES = 64 << 10
# The runs of a query whose experiments or model versions are looked up.
MAX_LOOKUPS = 200
MAX_LISTING_BYTES = 8 << 20


class Query(msgspec.Struct):
    """Named as in GraphQL over HTTP."""

    query: Required
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815


Message = dict[str, Any]
Field = tuple[type[msgspec.Struct], Callable[[Call, Any], Awaitable[Answer]]]

# The REST message and handler of each field of the two roots.
_FIELDS: dict[str, Field] = {
    "mlflowGetExperiment": (experiments.ExperimentId, experiments.get),
    "mlflowGetMetricHistoryBulkInterval": (
        metrics.GetInterval,
        metrics.get_history_bulk_interval,
    ),
    "mlflowGetRun": (runs.RunId, runs.get),
    "mlflowListArtifacts": (artifacts.ListArtifacts, artifacts.list_of_run),
    "mlflowSearchModelVersions": (model_versions.SearchVersions, model_versions.search),
    "mlflowSearchRuns": (runs.SearchRuns, runs.search),
    "mlflowSearchDatasets": (inputs.SearchDatasets, inputs.search_datasets),
}


@routes.add("POST", "", Query, Role.READ, max_body_bytes=MAX_BODY_BYTES)
async def execute(call: Call, message: Query) -> bytes:
    """The answer of GraphQL: `data`, and as `errors` their messages alone, as MLflow has it."""
    errors: list[str] = []
    data = b"null"
    try:
        async with call.services.turns.turn(call.tenant):
            asked = operation(message.query, message.operationName, message.variables or {})
        data = await _executed(call, asked, errors)
    except GraphQLErrors as error:
        errors.extend(error.messages)
    return b'{"data":%s,"errors":%s}' % (data, _encode(errors or None))


async def _executed(call: Call, asked: Operation, errors: list[str]) -> bytes:
    """The data of all root fields; one that fails is null, and says so among the errors."""
    fields = collect_fields(SCHEMA, asked.fragments, asked.variables, asked.type, asked.selections)
    projection = Projection(call.services.turns, call.tenant, _resolvers(call))
    parts = []
    for key, nodes in fields.items():
        try:
            value = await _root(call, asked, nodes, projection)
        except (TrackingError, GraphQLError) as error:
            errors.append(error.message)
            value = b"null"
        parts.append(b"%s:%s" % (_encode(key), value))
    return b"{%s}" % b",".join(parts)


async def _root(
    call: Call, asked: Operation, nodes: list[FieldNode], projection: Projection
) -> bytes:
    name = nodes[0].name.value
    if name == "__typename":
        return _encode(asked.type.name)
    declared = asked.type.fields[name]
    given = get_argument_values(declared, nodes[0], asked.variables)
    if name in _FIELDS:
        message = {snake_case(key): value for key, value in (given.get("input") or {}).items()}
        json = await _handled(call, _FIELDS[name], message)
    else:
        json = _encode({"output": given.get("inputString") or ""})
    return await projection.object(json, selected(asked, declared.type, nodes))


async def _handled(call: Call, field: Field, message: Message) -> bytes:
    """The answer of the REST API to the message."""
    type_, handler = field
    answer = await handler(call, decode_body(_encode(message), {}, type_))
    if isinstance(answer, StreamedJson):
        json = b""
        async for chunk in answer.chunks:
            json += chunk
            if len(json) > MAX_LISTING_BYTES:
                raise TooLargeError("The folder has too many files for GraphQL to list them")
    else:
        json = answer if isinstance(answer, bytes) else _encode(answer)
    await call.services.memory.hold_response(call.tenant, len(json))
    return json


def _resolvers(call: Call) -> dict[str, Resolve]:
    """The fields of runs that are no part of their message."""
    experiments_by_id: dict[str, msgspec.Raw] = {}
    lookups = 0

    async def looked_up(field: Field, message: Message, name: str) -> msgspec.Raw | None:
        nonlocal lookups
        lookups += 1
        if lookups > MAX_LOOKUPS:
            raise TooLargeError(
                f"A query may look up {MAX_LOOKUPS} experiments and model versions of runs: ask"
                " for fewer runs"
            )
        return msgspec.json.decode(await _handled(call, field, message), type=Object).get(name)

    async def experiment(run: Object) -> msgspec.Raw | None:
        number = msgspec.json.decode(run["info"])["experiment_id"]
        if number not in experiments_by_id:
            found = await looked_up(
                _FIELDS["mlflowGetExperiment"], {"experiment_id": number}, "experiment"
            )
            assert found is not None
            experiments_by_id[number] = found
        return experiments_by_id[number]

    async def versions(run: Object) -> msgspec.Raw | None:
        run_id = msgspec.json.decode(run["info"])["run_id"]
        message = {"filter": f"run_id = '{run_id}'"}
        return await looked_up(_FIELDS["mlflowSearchModelVersions"], message, "model_versions")

    return {
        "MlflowRunExtension.experiment": experiment,
        "MlflowRunExtension.modelVersions": versions,
    }


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value)
