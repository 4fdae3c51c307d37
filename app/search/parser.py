"""From the string to the syntax tree."""

import re
from typing import NoReturn, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken

from app.kernel import validation
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

# Room for a list of some thousands of run ids.
MAX_LENGTH = 200_000
MAX_TOKENS = 20_000
MAX_COMPARISONS = 100

# Each comparison has one token of these types.
_COMPARATORS = {"COMPARATOR", "MEMBERSHIP", "NULLNESS"}
# How much to show of what was not understood: a quoted string, a word, or a run of symbols.
_PIECE = re.compile(r"'[^']{0,40}'?|\"[^\"]{0,40}\"?|`[^`]{0,40}`?|[\w.]{1,40}|[^\w\s'\"`]{1,40}")


class _Builder(Transformer[Token, object]):
    """Makes the tree's nodes while the parser reduces."""

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
    """The comparisons of `text`; none for an empty string. Raises InvalidValueError."""
    source = Source(text, "filter")
    validation.text(text, source.field, MAX_LENGTH)
    if text and not text.strip():
        raise source.error(f"Invalid filter '{text[:40]}'. Could not be parsed.", 0)
    parser = _PARSER.parse_interactive(text, start="filter")
    count = 0
    try:
        for place, token in enumerate(parser.iter_parse()):
            count += token.type in _COMPARATORS
            if count > MAX_COMPARISONS:
                message = f"The filter has more than {MAX_COMPARISONS} comparisons"
                raise source.error(message, _at(token))
            if place > MAX_TOKENS:
                raise source.error("The filter is too long", _at(token))
        comparisons = parser.resume_parse()  # type: ignore[no-untyped-call]
    except UnexpectedInput as error:
        _refuse(source, error)
    return Filter(source, comparisons)


def parse_order(text: str) -> Order:
    """One term of an order: what to sort by, and the direction. Raises InvalidValueError."""
    source = Source(text, "order_by")
    validation.text(text, source.field, MAX_LENGTH)
    shown = text[:100]
    try:
        words = cast("list[Token]", _PARSER.parse(text, start="order"))
    except UnexpectedInput as error:
        message = f"Invalid order_by clause '{shown}'. Could not be parsed."
        raise source.error(message, _place(error, text)) from None
    direction = words[1].lower() if len(words) > 1 else "asc"
    if direction not in ("asc", "desc"):
        raise source.error(f"Invalid ordering key in order_by clause '{shown}'.", _at(words[1]))
    return Order(source, _identifier(words[0]), direction == "desc")


def _refuse(source: Source, error: UnexpectedInput) -> NoReturn:
    at = _place(error, source.text)
    piece = _PIECE.match(source.text, at)
    if piece is None:
        raise source.error("Invalid clause(s) in filter string: it ends too early", at) from None
    hint = ". Comparisons can only be joined with AND" if piece[0].lower() == "or" else ""
    raise source.error(f"Invalid clause(s) in filter string: '{piece[0]}'{hint}", at) from None


def _place(error: UnexpectedInput, text: str) -> int:
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
