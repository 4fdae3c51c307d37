"""Projects answers of the REST API, as JSON, to the fields that a GraphQL query selects.

A long list is projected in slices, each in a turn on the event loop. JSON is decoded slice by
slice too, so that a request holds little more than what it answers with.
"""

import asyncio
import math
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLList,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
)
from graphql.execution.collect_fields import collect_sub_fields

from app.api.mlflow.graphql_api.document import SCHEMA, Operation
from app.kernel.errors import TooLargeError
from app.kernel.event_loop_turns import EventLoopTurns
from app.kernel.tenant import Tenant

MAX_BYTES = 16 << 20
_SLICE_VALUES = 2_000  # of which a slice takes about a millisecond
_PAUSE_OBJECTS = 20

Object = dict[str, msgspec.Raw]
Resolve = Callable[[Object], Awaitable[msgspec.Raw | None]]
"""Finds the JSON of a field that its object lacks; None where it is absent."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A selected field. `coordinate` is its type's name, a dot, and its own; `name` is that of the
    REST message. `children` are the fields of its object or objects; None for a value."""

    key: str
    coordinate: str
    name: str
    type: Any
    is_list: bool
    children: Sequence["Selected"] | None


def selected(
    operation: Operation, type_: GraphQLObjectType, nodes: list[FieldNode]
) -> list[Selected]:
    """The fields that are selected of an object, fragments merged."""
    fields = collect_sub_fields(SCHEMA, operation.fragments, operation.variables, type_, nodes)
    return [_selected(operation, type_, key, found) for key, found in fields.items()]


def _selected(
    operation: Operation, type_: GraphQLObjectType, key: str, nodes: list[FieldNode]
) -> Selected:
    field = nodes[0].name.value
    if field == "__typename":
        return Selected(key, field, "", type_.name, False, None)
    declared = type_.fields[field].type
    named = get_named_type(declared)
    children = selected(operation, named, nodes) if isinstance(named, GraphQLObjectType) else None
    is_list = isinstance(get_nullable_type(declared), GraphQLList)
    return Selected(key, f"{type_.name}.{field}", snake_case(field), named, is_list, children)


def snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


class Projection:
    """Projects for one request. `resolvers` are by the names of fields; the rest is read from the
    object. What is absent has protobuf's default, as in MLflow."""

    def __init__(
        self, turns: EventLoopTurns, tenant: Tenant, resolvers: dict[str, Resolve]
    ) -> None:
        self._turns = turns
        self._tenant = tenant
        self._resolvers = resolvers
        self._size = 0

    async def object(self, json: bytes | msgspec.Raw, fields: Sequence[Selected]) -> bytes:
        """The JSON of an object with the selected fields. Raises TooLargeError."""
        given = msgspec.json.decode(json, type=Object)
        parts = [
            b"%s:%s" % (msgspec.json.encode(field.key), await self._field(given, field))
            for field in fields
        ]
        return b"{%s}" % b",".join(parts)

    async def _field(self, given: Object, field: Selected) -> bytes:
        resolve = self._resolvers.get(field.coordinate)
        json = given.get(field.name) if resolve is None else await resolve(given)
        if field.name == "api_error":
            return b"null"
        if field.is_list:
            return await self._list(b"[]" if json is None else json, field)
        if field.children is not None:
            return await self.object(b"{}" if json is None else json, field.children)
        value = None if json is None else msgspec.json.decode(json)
        return self._counted(msgspec.json.encode(_scalar(field, value)))

    async def _list(self, json: bytes | msgspec.Raw, field: Selected) -> bytes:
        children = field.children
        if children and any(child.children is not None or child.is_list for child in children):
            objects = []
            for number, item in enumerate(msgspec.json.decode(json, type=list[msgspec.Raw])):
                if number % _PAUSE_OBJECTS == 0:
                    await asyncio.sleep(0)
                objects.append(await self.object(item, children))
            return b"[%s]" % b",".join(objects)
        values = msgspec.json.decode(json, type=list[msgspec.Raw])
        length = max(1, _SLICE_VALUES // max(1, len(children or ())))
        slices = []
        for start in range(0, len(values), length):
            async with self._turns.turn(self._tenant):
                part = [
                    _leaf(field, msgspec.json.decode(v)) for v in values[start : start + length]
                ]
                slices.append(self._counted(msgspec.json.encode(part)[1:-1]))
        return b"[%s]" % b",".join(slices)

    def _counted(self, json: bytes) -> bytes:
        self._size += len(json)
        if self._size > MAX_BYTES:
            raise TooLargeError(
                f"The answer has more than {MAX_BYTES} bytes: ask for fewer runs or fields"
            )
        return json


def _leaf(field: Selected, value: Any) -> Any:
    """An item of a list: an object of values alone, or a value."""
    if field.children is None:
        return _scalar(field, value)
    return {child.key: _scalar(child, value.get(child.name)) for child in field.children}


def _scalar(field: Selected, value: Any) -> Any:
    if isinstance(field.type, str):  # of __typename
        return field.type
    if isinstance(field.type, GraphQLEnumType):
        return next(iter(field.type.values)) if value is None else value
    match field.type.name:
        case "LongString":
            return "0" if value is None else str(value)
        case "Float":
            return _finite(0.0 if value is None else float(value))
        case "Boolean":
            return bool(value)
        case _:
            return "" if value is None else value


def _finite(value: float) -> float | None:
    """JSON has no NaN; an infinity is the greatest number, as MLflow stores it."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else math.copysign(sys.float_info.max, value)
