"""From the identifier of a filter or an order to the field of the entity that it names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.search.schema import Attribute, EntitySchema, FieldKind
from app.search.syntax_tree import Identifier, Source

# An identifier without special characters outside of quotes. The quantifier is possessive: quotes
# can be paired in many ways, and backtracking through all of them would take forever.
_STRICT = re.compile(
    r"""(?:[\w.]|`(?:``|[^`])*`|"(?:""|\\"|[^"])*"|'(?:''|\\'|[^'])*'|\[[^\]\[]+\])*+"""
)


@dataclass(frozen=True, slots=True)
class Field:
    """What an identifier names. `attribute` is set where it is a value of the entity itself: an
    attribute or a derived tag. Otherwise `name` is a key in the child table of the kind.

    `written` is the name before aliases were resolved.
    """

    kind: FieldKind
    name: str
    attribute: Attribute | None
    written: str = field(compare=False)


def resolve(
    schema: EntitySchema, source: Source, identifier: Identifier, *, order: bool = False
) -> Field:
    """The field that an identifier names in a filter, or in an order. Raises InvalidValueError."""
    text, at = identifier.text, identifier.at
    if not schema.unquoted and not _STRICT.fullmatch(text):
        hint = "put a name with special characters in backticks"
        if order:
            problem = f"Invalid order_by clause '{source.text[:100]}'. Could not be parsed."
        else:
            problem = f"Invalid comparison clause. Expected 'Identifier' found '{text[:100]}'"
        raise source.error(f"{problem}; {hint}", at)
    prefix, dot, rest = text.partition(".")
    if not dot:
        prefix, rest = "", text
    name = _unquoted(rest, "'\"")
    name = _unquoted(name, "`")
    kind = schema.prefixes.get(_unquoted(prefix, "`")) if dot else FieldKind.ATTRIBUTE
    if kind is None:
        raise source.error(schema.messages.unknown_prefix.format(prefix=prefix[:100]), at)
    if kind is FieldKind.ATTRIBUTE:
        names = schema.sort_attributes if order else schema.attributes
        if name not in names:
            called = schema.messages.sort_key if order else "attribute"
            raise source.error(_unknown_key(called, name, names), at)
        attribute = names[name]
        return Field(kind, attribute.name, attribute, name)
    if kind is FieldKind.TAG:
        return Field(kind, name, schema.derived_tags.get(name), name)
    keys = schema.child_tables[kind].keys
    if keys is not None and name not in keys:
        raise source.error(_unknown_key(kind.value, name, keys), at)
    return Field(kind, name, None, name)


def _unquoted(text: str, quotes: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in quotes else text


def _unknown_key(called: str, name: str, valid: Iterable[str]) -> str:
    keys = ", ".join(repr(key) for key in sorted(valid))
    return f"Invalid {called} key '{name[:100]}' specified. Valid keys are '{{{keys}}}'"
