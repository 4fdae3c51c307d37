"""Parses filters and orders to syntax trees."""

import re
from typing import cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken

from app.kernel import validation
from app.kernel.errors import InvalidValueError
from app.search.syntax_tree import (
    Comparison,
    Filter,
    Identifier,
    Item,
    Items,
    Number,
    Order,
    Source,
    Text,
    Word,
)

# A filter may have a list of some thousands of run ids.
MAX_LENGTH = 200_000
MAX_TOKENS = 20_000
MAX_COMPARISONS = 100

# Each comparison has one token of one of these types.
_COMPARATORS = {"COMPARATOR", "MEMBERSHIP", "NULLNESS"}
# The part of a syntax error that its message shows: a quoted string, a word, or a run of symbols.
_EXCERPT = re.compile(r"'[^']{0,40}'?|\"[^\"]{0,40}\"?|`[^`]{0,40}`?|[\w.]{1,40}|[^\w\s'\"`]{1,40}")


class _Builder(Transformer[Token, object]):
    """Builds the nodes of the tree as the parser reduces."""

    def filter(self, comparisons: list[Comparison]) -> tuple[Comparison, ...]:
        return tuple(comparisons)

    @v_args(inline=True)
    def comparison(
        self, identifier: Token, comparator: Token, value: Token | Items | None = None
    ) -> Comparison:
        return Comparison(
            _identifier(identifier),
            " ".join(comparator.upper().split()),
            _at(comparator),
            _item(value) if isinstance(value, Token) else value,
        )

    def items(self, tokens: list[Token]) -> Items:
        return Items(tuple(_item(token) for token in tokens[1:]), _at(tokens[0]))

    def order(self, words: list[Token]) -> list[Token]:
        return words


_PARSER = Lark.open_from_package(
    __package__,
    "grammar.lark",
    parser="lalr",
    start=["filter", "order"],
    transformer=_Builder(),
    maybe_placeholders=False,
)


def parse_filter(text: str) -> Filter:
    """The syntax tree of a filter, which may be empty. Raises InvalidValueError(field="filter")."""
    source = Source(text, "filter")
    validation.text(text, source.field, MAX_LENGTH)
    if text and not text.strip():
        raise source.error(f"Invalid filter '{text[:40]}'. Could not be parsed.", 0)
    parser = _PARSER.parse_interactive(text, start="filter")
    count = 0
    try:
        for number, token in enumerate(parser.iter_parse()):
            count += token.type in _COMPARATORS
            if count > MAX_COMPARISONS:
                message = f"The filter has more than {MAX_COMPARISONS} comparisons"
                raise source.error(message, _at(token))
            if number > MAX_TOKENS:
                raise source.error("The filter is too long", _at(token))
        comparisons = parser.resume_parse()  # type: ignore[no-untyped-call]
    except UnexpectedInput as error:
        raise _syntax_error(source, error) from None
    return Filter(source, comparisons)


def parse_order(text: str) -> Order:
    """The syntax tree of one order. Raises InvalidValueError(field="order_by")."""
    source = Source(text, "order_by")
    validation.text(text, source.field, MAX_LENGTH)
    shown = text[:100]
    try:
        words = cast("list[Token]", _PARSER.parse(text, start="order"))
    except UnexpectedInput as error:
        message = f"Invalid order_by clause '{shown}'. Could not be parsed."
        raise source.error(message, _position(error, text)) from None
    direction = words[1].lower() if len(words) > 1 else "asc"
    if direction not in ("asc", "desc"):
        raise source.error(f"Invalid ordering key in order_by clause '{shown}'.", _at(words[1]))
    return Order(source, _identifier(words[0]), direction == "desc")


def _syntax_error(source: Source, error: UnexpectedInput) -> InvalidValueError:
    at = _position(error, source.text)
    excerpt = _EXCERPT.match(source.text, at)
    if excerpt is None:
        return source.error("Invalid clause(s) in filter string: it ends too early", at)
    hint = ". Comparisons can only be joined with AND" if excerpt[0].lower() == "or" else ""
    return source.error(f"Invalid clause(s) in filter string: '{excerpt[0]}'{hint}", at)


def _position(error: UnexpectedInput, text: str) -> int:
    at = error.pos_in_stream
    match error:
        case UnexpectedToken(token=Token(type="$END")) | UnexpectedInput(pos_in_stream=None):
            return len(text)
        case _:
            assert isinstance(at, int)
            return at


def _identifier(token: Token) -> Identifier:
    return Identifier(str(token), _at(token))


def _item(token: Token) -> Item:
    at = _at(token)
    match token.type:
        case "TEXT":
            return Text(str(token[1:-1]), str(token), at)
        case "NUMBER":
            return Number(str(token), at)
        case _:
            return Word(str(token), at)


def _at(token: Token) -> int:
    assert token.start_pos is not None
    return token.start_pos
