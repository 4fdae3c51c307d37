"""How a difference between MLflow's server and ours is written down, and recognised."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Json = Any

REFUSED = "INVALID_PARAMETER_VALUE"
ANY = ".*"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json

    @property
    def error_code(self) -> str | None:
        return self.body.get("error_code") if isinstance(self.body, dict) else None

    @property
    def message(self) -> str:
        """Of an error; otherwise the whole body."""
        if isinstance(self.body, dict) and "error_code" in self.body:
            return str(self.body.get("message", ""))
        return self.body if isinstance(self.body, str) else json.dumps(self.body)


@dataclass(frozen=True)
class Exchange:
    """A call (`POST runs/create`), and both answers to it, after ids were renamed."""

    call: str
    theirs: Answer
    ours: Answer


@dataclass(frozen=True)
class Difference:
    """`explain` gives the exchange without this difference; unchanged where it has none.

    `calls` says for the documentation where it is met, as a pattern of calls.
    """

    name: str
    reason: str
    calls: str
    explain: Callable[[Exchange], Exchange]


def everywhere(
    name: str,
    reason: str,
    *,
    calls: str = ".*",
    theirs: Callable[[Json], Json] = lambda value: value,
    ours: Callable[[Json], Json] = lambda value: value,
) -> Difference:
    """A value that is shown in another way, wherever it is; both are brought to the same one."""

    def explain(exchange: Exchange) -> Exchange:
        if not re.fullmatch(calls, exchange.call):
            return exchange
        return replace(
            exchange,
            theirs=replace(exchange.theirs, body=_mapped(exchange.theirs.body, theirs)),
            ours=replace(exchange.ours, body=_mapped(exchange.ours.body, ours)),
        )

    return Difference(name, reason, calls, explain)


def answers(
    name: str,
    reason: str,
    *,
    calls: str,
    theirs: tuple[int | str, str | None, str],
    ours: tuple[int | str, str | None, str],
) -> Difference:
    """A call that is answered otherwise: status, error code, and a pattern of the message."""

    def explain(exchange: Exchange) -> Exchange:
        same = (exchange.theirs.status, exchange.theirs.body) == (
            exchange.ours.status,
            exchange.ours.body,
        )
        if (
            same
            or not re.fullmatch(calls, exchange.call)
            or not _fits(exchange.theirs, theirs)
            or not _fits(exchange.ours, ours)
        ):
            return exchange
        return replace(exchange, theirs=exchange.ours)

    return Difference(name, reason, calls, explain)


def page_as_error(exchange: Exchange) -> Exchange:
    """A page that says that there is no such route or method, and an error with the same status."""
    theirs, ours = exchange.theirs, exchange.ours
    if (
        theirs.status != ours.status
        or ours.status not in (404, 405)
        or not _fits(theirs, (ANY, None, r"<!doctype html>.*"))
        or not _fits(ours, (ANY, "ENDPOINT_NOT_FOUND", ANY))
    ):
        return exchange
    return replace(exchange, theirs=ours)


def _fits(answer: Answer, expected: tuple[int | str, str | None, str]) -> bool:
    status, code, message = expected
    return (
        status in (answer.status, ANY)
        and (code == ANY or re.fullmatch(code or "", answer.error_code or "") is not None)
        and re.fullmatch(message, answer.message, re.DOTALL) is not None
    )


def _mapped(value: Json, change: Callable[[Json], Json]) -> Json:
    """The value with `change` made to each of its parts, the inner ones first."""
    if isinstance(value, dict):
        value = {key: _mapped(one, change) for key, one in value.items()}
    elif isinstance(value, list):
        value = [_mapped(one, change) for one in value]
    return change(value)
