"""Compiles the syntax tree of a filter to SQL, for any entity that a schema describes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement

from app.kernel.tenant import Tenant
from app.search import predicates
from app.search.exists import CompiledFilter, ExistsCondition
from app.search.fields import Field, resolve
from app.search.predicates import MEMBERSHIP, NULLNESS, Predicate
from app.search.schema import Attribute, EntitySchema, FieldKind
from app.search.syntax_tree import Comparison, Filter, Source
from app.search.values import read_value

# In the order in which errors list them.
_COMPARATORS = ("<", "<=", ">", ">=", "=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", *sorted(NULLNESS))
_PLURAL = {"attribute": "attributes", "metric": "metrics", "parameter": "params", "tag": "tags"}


@dataclass(frozen=True, slots=True)
class _Operand:
    """A comparison with its field resolved and its value read; None for IS [NOT] NULL."""

    comparison: Comparison
    field: Field
    value: str | float | Sequence[str] | None


def compile_filter(tenant: Tenant, schema: EntitySchema, filter: Filter) -> CompiledFilter:
    """The conditions of the filter. Raises InvalidValueError(field="filter").

    For most entities MLflow reads all values before it checks the first comparator. So does this,
    so that of two mistakes the same one is reported.
    """
    operands = [_operand(schema, filter.source, comparison) for comparison in filter.comparisons]
    columns: list[ColumnElement[bool]] = []
    for operand in operands:
        _check_comparator(schema, filter.source, operand.comparison, operand.field)
        _check_list(filter.source, operand)
        if operand.field.attribute:
            columns.append(
                _attribute_condition(tenant, filter.source, operand, operand.field.attribute)
            )
    return CompiledFilter(tenant, columns, _exists_conditions(schema, operands))


def _operand(schema: EntitySchema, source: Source, comparison: Comparison) -> _Operand:
    field = resolve(schema, source, comparison.identifier)
    if comparison.value is None or schema.comparator_first:
        _check_comparator(schema, source, comparison, field)
    if comparison.value is None:
        return _Operand(comparison, field, None)
    try:
        value = read_value(schema, field, comparison.value)
    except ValueError as error:
        raise source.error(str(error), comparison.value.at) from None
    return _Operand(comparison, field, value)


def _exists_conditions(schema: EntitySchema, operands: Sequence[_Operand]) -> list[ExistsCondition]:
    """The conditions on child tables. Those on the one row of a key share an EXISTS."""
    conditions: list[ExistsCondition] = []
    shared: dict[Field, list[_Operand]] = {}
    for operand in operands:
        field, comparator = operand.field, operand.comparison.comparator
        if field.attribute:
            continue
        child_table = schema.child_tables[field.kind]
        if comparator == "IS NULL":
            conditions.append(ExistsCondition(child_table, field.name, negated=True))
        elif not child_table.unique:
            conditions.append(ExistsCondition(child_table, field.name, _predicates([operand])))
        else:
            shared.setdefault(field, []).append(operand)
    for field, of_field in shared.items():
        equal_texts = [
            operand.value
            for operand in of_field
            if operand.comparison.comparator == "=" and isinstance(operand.value, str)
        ]
        conditions.append(
            ExistsCondition(
                schema.child_tables[field.kind],
                field.name,
                _predicates(of_field),
                equal_text=equal_texts[0] if equal_texts else None,
            )
        )
    return conditions


def _predicates(operands: Sequence[_Operand]) -> tuple[Predicate, ...]:
    return tuple(
        _predicate(operand) for operand in operands if operand.comparison.comparator not in NULLNESS
    )


def _predicate(operand: _Operand) -> Predicate:
    comparator = operand.comparison.comparator
    match operand.value:
        case int() | float():
            return predicates.real(comparator, operand.value)
        case str() | tuple():
            return predicates.text(comparator, operand.value)
        case _:
            raise AssertionError(operand)


def _attribute_condition(
    tenant: Tenant, source: Source, operand: _Operand, attribute: Attribute
) -> ColumnElement[bool]:
    expression = attribute.expression(tenant)
    comparator, value = operand.comparison.comparator, operand.value
    if comparator in NULLNESS:
        return expression.is_(None) if comparator == "IS NULL" else expression.is_not(None)
    match attribute.type, value:
        case "whole", float():
            assert operand.comparison.value is not None
            raise source.error(
                f"Invalid value for numeric attribute '{attribute.name}': '{value}'",
                operand.comparison.value.at,
            )
        case "integer" | "whole" | "whole_or_text", int() | float():
            return predicates.integer(comparator, value)(expression)
        case "run_id", str() | tuple():
            return predicates.run_id(comparator, value)(expression)
        case "experiment_id", str():
            number = _experiment_id(source, operand, value)
            return predicates.integer(comparator, number)(expression)
        case "experiment_id", tuple():
            numbers = [_experiment_id(source, operand, text) for text in value]
            return predicates.integers(comparator, numbers)(expression)
        case _:
            return _predicate(operand)(expression)


def _experiment_id(source: Source, operand: _Operand, text: str) -> int:
    # Python refuses to read an integer of thousands of digits, which is no experiment's id.
    try:
        return int(text)
    except ValueError:
        assert operand.comparison.value is not None
        raise source.error(
            f"Invalid experiment ID '{text[:100]}'. Experiment ID must be a valid integer.",
            operand.comparison.value.at,
        ) from None


def _check_comparator(
    schema: EntitySchema, source: Source, comparison: Comparison, field: Field
) -> None:
    allowed = schema.comparators.get(field.kind, frozenset())
    if field.kind is FieldKind.ATTRIBUTE and field.attribute is not None:
        allowed = field.attribute.comparators
    if comparison.comparator in allowed:
        return
    messages = schema.messages
    is_nullness = comparison.comparator in NULLNESS
    message = (messages.nullness if is_nullness else messages.comparator).format(
        comparator=comparison.comparator[:100],
        allowed=", ".join(repr(comparator) for comparator in _COMPARATORS if comparator in allowed),
        kind=_PLURAL[field.kind] if schema.unquoted else field.kind.value,
        key=field.name[:100],
        written=field.written[:100],
    )
    raise source.error(message, comparison.comparator_at)


def _check_list(source: Source, operand: _Operand) -> None:
    """Refuse a list with another comparator than IN and NOT IN: MLflow leaves `name = ('a', 'b')`
    to its database, which fails."""
    comparison = operand.comparison
    if isinstance(operand.value, tuple) and comparison.comparator not in MEMBERSHIP:
        raise source.error(
            f"Invalid comparator '{comparison.comparator}' for a list: use IN or NOT IN",
            comparison.comparator_at,
        )
