"""The grammar, the syntax tree, and the position of an error."""

import pytest

from app.kernel.errors import InvalidValueError
from app.search.parser import MAX_COMPARISONS, parse_filter, parse_order
from app.search.syntax_tree import Items, Number, Text, Word


def comparisons(text: str) -> list[tuple[str, str, str | None]]:
    return [
        (each.identifier.text, each.comparator, each.value.source if each.value else None)
        for each in parse_filter(text).comparisons
    ]


class TestFilter:
    def test_empty(self) -> None:
        assert comparisons("") == []

    @pytest.mark.parametrize(
        "identifier",
        [
            *(
                "a",
                "a.b",
                "a.b.c",
                "metrics.1a",
                "metrics._a",
                "metrics.é",
                "tags.mlflow.source.type",
            ),
            *("metrics.`a/b c`", 'tags."a.b"', "params.'x y'", "`Run Name`", '"Run Name"'),
            *("`metrics`.a", "metrics.[a]", "metrics.a-b", "metrics.a/b", "tags.and", "tags.``"),
        ],
    )
    def test_identifier(self, identifier: str) -> None:
        assert comparisons(f"{identifier} = 1") == [(identifier, "=", "1")]

    @pytest.mark.parametrize("number", ["1", "-1", "1.", ".5", "-.5", "1.5e-3", "1E3", "1e+3"])
    def test_number(self, number: str) -> None:
        [comparison] = parse_filter(f"a>{number}").comparisons
        assert comparison.value == Number(number, 2)

    @pytest.mark.parametrize(
        ("source", "value"),
        [
            ("'x'", "x"),
            ('"x"', "x"),
            ("''", ""),
            ("'it''s'", "it''s"),
            (r"'it\'s'", r"it\'s"),
            (r"'\'", "\\"),
            (r"'a\\'", r"a\\"),
            ('"it\'s"', "it's"),
            ("'a AND b'", "a AND b"),
            ("'two\nlines'", "two\nlines"),
        ],
    )
    def test_text_is_between_the_quotes(self, source: str, value: str) -> None:
        [comparison] = parse_filter(f"a = {source}").comparisons
        assert comparison.value == Text(value, source, 4)

    def test_word(self) -> None:
        assert parse_filter("a = b").comparisons[0].value == Word("b", 4)

    def test_list(self) -> None:
        [comparison] = parse_filter("a not  in ('x', \"y\",)").comparisons
        assert comparison.comparator == "NOT IN"
        assert isinstance(comparison.value, Items)
        assert [each.source for each in comparison.value.items] == ["'x'", '"y"']

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("like", "LIKE"),
            ("ILike", "ILIKE"),
            ("==", "=="),
            ("<>", "<>"),
            ("not like", "NOT LIKE"),
        ],
    )
    def test_comparator(self, written: str, read: str) -> None:
        assert comparisons(f"a {written} 'x'") == [("a", read, "'x'")]

    def test_nullness(self) -> None:
        assert comparisons("a IS NULL and b is  not\tnull") == [
            ("a", "IS NULL", None),
            ("b", "IS NOT NULL", None),
        ]

    @pytest.mark.parametrize(
        "text", ["a=1 AND b=2", "a=1 b=2", "AND a=1 and AND b=2 AND", "a=1\nb=2"]
    )
    def test_conjunction_is_as_loose_as_in_mlflow(self, text: str) -> None:
        assert comparisons(text) == [("a", "=", "1"), ("b", "=", "2")]

    @pytest.mark.parametrize(
        ("text", "column"),
        [
            ("a = 1 OR b = 2", 7),
            ("(a = 1)", 1),
            ("NOT a = 1", 1),
            ("a = 1;", 6),
            ("a = 1 -- c", 7),
            ("a = 'x", 5),
            ("a =", 4),
            ("a", 2),
            ("= 1", 1),
            ("a b = 1", 3),
            ("a = 1, b = 2", 6),
            ("a IN 'x'", 6),
            ("a BETWEEN 1 AND 2", 3),
            ("metrics.1 = 1", 8),
            ("a[0] = 1", 2),
            ("   ", 1),
        ],
    )
    def test_error_points_at_its_position(self, text: str, column: int) -> None:
        with pytest.raises(InvalidValueError, match=rf"\(column {column}\)") as caught:
            parse_filter(text)
        assert caught.value.field == "filter"
        excerpt, caret = caught.value.message.splitlines()[-2:]
        assert excerpt.strip() in text or not text.strip()
        assert caret.index("^") == column + 1

    def test_excerpt_of_a_long_filter_is_short(self) -> None:
        with pytest.raises(InvalidValueError) as caught:
            parse_filter("a = 1 AND " * 20 + "b = 1 OR " + "c = 1 AND " * 20)
        lines = caught.value.message.splitlines()
        assert lines[1].strip().startswith("…")
        assert lines[1].strip().endswith("…")
        assert lines[1][lines[2].index("^") :].startswith("OR ")

    def test_too_many_comparisons(self) -> None:
        parse_filter(" AND ".join(["a = 1"] * MAX_COMPARISONS))
        with pytest.raises(InvalidValueError, match="more than 100 comparisons"):
            parse_filter(" AND ".join(["a = 1"] * (MAX_COMPARISONS + 1)))

    @pytest.mark.parametrize("text", ["a = '\0'", "a = '\ud800'", "a = '" + "x" * 200_000 + "'"])
    def test_unstorable(self, text: str) -> None:
        with pytest.raises(InvalidValueError) as caught:
            parse_filter(text)
        assert caught.value.field == "filter"


class TestOrder:
    @pytest.mark.parametrize(
        ("text", "identifier", "descending"),
        [
            ("metrics.a", "metrics.a", False),
            ("metrics.a ASC", "metrics.a", False),
            ("metrics.a  dEsC", "metrics.a", True),
            ("metrics.`a DESC`", "metrics.`a DESC`", False),
            ('"start_time" DESC', '"start_time"', True),
            ("metrics.desc", "metrics.desc", False),
        ],
    )
    def test_valid(self, text: str, identifier: str, descending: bool) -> None:
        order = parse_order(text)
        assert (order.identifier.text, order.descending) == (identifier, descending)

    @pytest.mark.parametrize(
        "text", ["", " ", "'x'", "a DESC b", "a, b", "(a)", "a DESC NULLS LAST", "metrics.`a", "1"]
    )
    def test_invalid(self, text: str) -> None:
        with pytest.raises(InvalidValueError, match="Could not be parsed") as caught:
            parse_order(text)
        assert caught.value.field == "order_by"

    def test_invalid_direction(self) -> None:
        with pytest.raises(
            InvalidValueError, match="Invalid ordering key in order_by clause 'a up'"
        ):
            parse_order("a up")
