"""Rules for revisions, as a static check of their files: indexes, and timeouts."""

import ast
import re
from collections.abc import Iterator

# Operations that build an index while they hold a lock against writers.
_LOCKING = {
    "create_index",
    "create_unique_constraint",
    "create_primary_key",
    "create_exclude_constraint",
}
_CONCURRENT = {"create_index_concurrently", "drop_index_concurrently"}
_SQL_INDEX = re.compile(
    r"\bCREATE\s+(UNIQUE\s+)?INDEX\b|\bADD\b[^;]*\b(UNIQUE|PRIMARY\s+KEY|EXCLUDE)\b", re.I
)
_SQL_TIMEOUT = re.compile(r"\bSET\s+(?!LOCAL\b)(SESSION\s+)?(lock|statement)_timeout\b", re.I)


def offences(source: str) -> list[str]:
    """What a revision does that would lock writers out for long, with its line numbers.

    An index is built concurrently, by the helper, in a revision that does nothing else; except on a
    table that the same revision creates. Timeouts are set for the transaction only.
    """
    tree = ast.parse(source)
    return [f"line {line}: {what}" for line, what in sorted(_offences(tree))]


def _offences(tree: ast.Module) -> Iterator[tuple[int, str]]:
    created = {
        _literal(call.args[0])
        for call in _calls(tree)
        if _name(call) == "create_table" and call.args
    }
    for call in _calls(tree):
        name = _name(call)
        if name in _LOCKING and _table(call) not in created:
            yield call.lineno, f"{name} on a table that was there before"
        if name == "add_column" and any(
            option.arg in ("index", "unique") for inner in _calls(call) for option in inner.keywords
        ):
            yield call.lineno, "a column with an index"
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                continue
            if _SQL_INDEX.search(node.value):
                yield node.lineno, "SQL that builds an index"
            if _SQL_TIMEOUT.search(node.value):
                yield node.lineno, "a timeout that outlasts its revision: SET LOCAL"
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            yield from _mixed(function)


def _mixed(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    concurrent = [call for call in _calls(function) if _name(call) in _CONCURRENT]
    inside = {id(node) for call in concurrent for node in ast.walk(call)}
    others = [call for call in _calls(function) if id(call) not in inside]
    if concurrent and others:
        yield others[0].lineno, "more than indexes in a revision that builds one concurrently"


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


def _table(call: ast.Call) -> object:
    """The table of an operation: its second argument, or the one of that name."""
    named = {option.arg: option.value for option in call.keywords}
    given = named.get("table_name") or (call.args[1] if len(call.args) > 1 else None)
    return _literal(given)


def _literal(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None
