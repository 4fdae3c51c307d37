"""GraphQL documents: parsed, checked against the schema, and bounded before they cost anything.

The limits on depth, fields and aliases are MLflow's. Those on the text are lower than what would
take long to check.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.values import get_variable_values

SCHEMA: GraphQLSchema = build_schema(Path(__file__).with_name("schema.graphql").read_text())

MAX_LENGTH = 16 << 10
_MAX_TOKENS = 1_000
_MAX_COMMENTS = 100
_MAX_ERRORS = 5
_MAX_DEPTH = 10
_MAX_ROOT_FIELDS = 10
_MAX_ALIASES = 10
# As they are written. Validation compares each field with those of its name.
_MAX_WRITTEN = 150
# With those of a fragment wherever it is spread.
_MAX_SELECTIONS = 1_000

# Introspection costs more than any other query.
_RULES = [*specified_rules, NoSchemaIntrospectionCustomRule]

Fragments = dict[str, FragmentDefinitionNode]


class GraphQLErrors(Exception):  # noqa: N818 (they are several)
    """Why a document, or a part of it, is not executed."""

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = messages


@dataclass(frozen=True, slots=True)
class Operation:
    """What a valid document asks for."""

    type: GraphQLObjectType
    selections: SelectionSetNode
    fragments: Fragments
    variables: dict[str, Any]


def operation(query: str, name: str | None, variables: dict[str, Any]) -> Operation:
    """The operation of that name, or the only one. Raises GraphQLErrors."""
    document = _checked(query)
    node = get_operation_ast(document, name or None)
    if node is None:
        raise GraphQLErrors(
            f"The document has no operation named '{name}'"
            if name
            else "operationName has to name one of the document's operations"
        )
    root = SCHEMA.get_root_type(node.operation)
    if root is None:
        raise GraphQLErrors(f"There are no operations of the kind '{node.operation.value}'")
    found = get_variable_values(
        SCHEMA, node.variable_definitions or (), variables, _MAX_ERRORS, hide_suggestions=True
    )
    if isinstance(found, list):
        raise GraphQLErrors(*(error.message for error in found))
    return Operation(root, node.selection_set, _fragments(document), found)


@lru_cache(maxsize=64)  # a page sends the same few again and again
def _checked(query: str) -> DocumentNode:
    """The document, if it is valid and within the limits. Raises GraphQLErrors."""
    try:
        document = parse(
            query,
            no_location=True,
            max_lexical_tokens=_MAX_TOKENS,
            max_comments=_MAX_COMMENTS,
            max_source_length=MAX_LENGTH,
        )
    except GraphQLError as error:
        raise GraphQLErrors(error.message) from None
    written = sum(_written(definition) for definition in document.definitions)
    if written > _MAX_WRITTEN:
        raise GraphQLErrors(f"A document may have at most {_MAX_WRITTEN} selections, got {written}")
    errors = validate(SCHEMA, document, _RULES, _MAX_ERRORS, hide_suggestions=True)
    if errors:
        raise GraphQLErrors(*(error.message for error in errors))
    fragments = _fragments(document)
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            _check_limits(definition, fragments)
    return document


def _fragments(document: DocumentNode) -> Fragments:
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }


def _written(node: Any) -> int:
    """The selections of a definition as they are written."""
    count, pending = 0, [node]
    while pending:
        if (inside := getattr(pending.pop(), "selection_set", None)) is not None:
            count += len(inside.selections)
            pending.extend(inside.selections)
    return count


def _check_limits(operation: OperationDefinitionNode, fragments: Fragments) -> None:
    """Raises GraphQLErrors. No fragment spreads itself: the document is valid."""
    total, pending = 0, [(operation.selection_set, 1)]
    while pending:
        selections, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise GraphQLErrors(f"A query may be at most {_MAX_DEPTH} fields deep")
        fields: list[FieldNode] = []
        unread = [*selections.selections]
        while unread:
            selection = unread.pop()
            total += 1
            if total > _MAX_SELECTIONS:
                raise GraphQLErrors(f"A query may have at most {_MAX_SELECTIONS} selections")
            match selection:
                case FieldNode():
                    fields.append(selection)
                case InlineFragmentNode():
                    unread.extend(selection.selection_set.selections)
                case FragmentSpreadNode():
                    unread.extend(fragments[selection.name.value].selection_set.selections)
        if depth == 1 and len(fields) > _MAX_ROOT_FIELDS:
            raise GraphQLErrors(
                f"A query may have at most {_MAX_ROOT_FIELDS} root fields, got {len(fields)}"
            )
        aliases = sum(1 for field in fields if field.alias)
        if aliases > _MAX_ALIASES:
            raise GraphQLErrors(
                f"A query may have at most {_MAX_ALIASES} aliases in one place, got {aliases}"
            )
        pending += [(field.selection_set, depth + 1) for field in fields if field.selection_set]
