"""Syntax trees of filters and orders, and the errors that point into their source."""

from dataclasses import dataclass
from typing import Literal

from app.kernel.errors import InvalidValueError

_EXCERPT = 60


@dataclass(frozen=True, slots=True)
class Source:
    """The string that a tree was parsed from; `field` is its name in the request."""

    text: str
    field: Literal["filter", "order_by"]

    def error(self, message: str, at: int) -> InvalidValueError:
        """An error that shows its column in the string, counted from 1, and an excerpt.

        `at` is counted from 0.
        """
        start = max(0, at - _EXCERPT // 2)
        end = start + _EXCERPT
        excerpt = "".join(c if c.isprintable() else " " for c in self.text[start:end])
        before, after = "…" * (start > 0), "…" * (end < len(self.text))
        caret = " " * (len(before) + at - start) + "^"
        return InvalidValueError(
            f"{message} (column {at + 1})\n  {before}{excerpt}{after}\n  {caret}", field=self.field
        )


@dataclass(frozen=True, slots=True)
class Identifier:
    """The name of a field, as written: `metrics.loss`, `` params.`a b` ``, `Created`."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted value; `value` is the text between the quotes."""

    value: str
    source: str
    at: int


@dataclass(frozen=True, slots=True)
class Number:
    source: str
    at: int


@dataclass(frozen=True, slots=True)
class Word:
    """A value without quotes."""

    source: str
    at: int


Item = Text | Number | Word


@dataclass(frozen=True, slots=True)
class Items:
    """A list in parentheses."""

    items: tuple[Item, ...]
    at: int

    @property
    def source(self) -> str:
        return f"({', '.join(item.source for item in self.items)})"


Value = Text | Number | Word | Items


@dataclass(frozen=True, slots=True)
class Comparison:
    """`comparator` is in upper case with single spaces; `value` is None for IS [NOT] NULL."""

    identifier: Identifier
    comparator: str
    comparator_at: int
    value: Value | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Comparisons that must all hold."""

    source: Source
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Order:
    source: Source
    identifier: Identifier
    descending: bool
