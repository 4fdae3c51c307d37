"""The same call on both servers, and what differs once ids and times have the same names."""

import json
import re
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx

from tests.contract.parity.cases.calls import Call
from tests.contract.parity.difference import Answer, Difference, Exchange
from tests.contract.parity.differences import DIFFERENCES
from tests.contract.parity.reference import Reference

Json = Any

API = "/api/2.0/mlflow"

# Experiments (18 digits on both sides), runs, and logged models.
_ID = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9]{18}|m-[0-9a-f]{32}|[0-9a-f]{32})(?![0-9a-zA-Z])")
# MLflow's random names have other words than ours, but the same form; its numbers end at 1000.
_RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-(?:[0-9]{1,3}|1000)")
# A set that Python printed, in an order that is another one in every process.
_SET = re.compile(r"\{'[^{}:]*'\}")
# How near to now a number must be to be taken for a time that the server took.
_AROUND_NOW_MS = 3_600_000


class UnlikeError(AssertionError):
    """An answer that differs, for no listed reason."""


@dataclass
class Side:
    """One of the two servers, with what its answers were called."""

    url: str
    client: httpx.Client
    kept: dict[str, str]
    labels: dict[str, str]

    def send(self, call: Call) -> Answer:
        path = _fill(call.path, self.kept)
        content, headers = call.content, _fill(call.headers, self.kept)
        if content is not None:
            content = _fill(content.decode("latin-1"), self.kept).encode("latin-1")
        if call.body is not None:
            content = json.dumps(_fill(call.body, self.kept)).encode()
            headers = {"content-type": "application/json"} | headers
        response = self.client.request(
            call.method,
            f"{self.url}{path if path.startswith('/') else f'{API}/{path}'}",
            params=_fill(call.query, self.kept) or None,
            headers=headers,
            content=content,
        )
        return answer_of(response)


def answer_of(response: httpx.Response) -> Answer:
    try:
        return Answer(response.status_code, response.json())
    except ValueError:
        return Answer(response.status_code, response.text)


class Pair:
    """Both servers, which are empty at first, and what is known of them."""

    def __init__(
        self, reference: Reference, our_url: str, client: httpx.Client, found: set[Difference]
    ) -> None:
        """`found` takes the listed differences that were met."""
        self._found = found
        self.theirs = Side(reference.url, client, {}, {})
        self.ours = Side(our_url, client, {}, {})

    def call(self, call: Call, *, may_fail: bool = False) -> Answer:
        """MLflow's answer. Raises UnlikeError where ours is another, for no listed reason.

        With `may_fail`, nothing is kept of an error.
        """
        theirs, ours = self.theirs.send(call), self.ours.send(call)
        try:
            self.compare(call.name, theirs, ours)
        except UnlikeError as error:
            sent = str(call.body or call.content or dict(call.query))[:300]
            raise UnlikeError(f"{error}\n  sent:   {sent}") from None
        keep = {} if may_fail and theirs.status >= 400 else call.keep
        for name, path in keep.items():
            for side, answer in ((self.theirs, theirs), (self.ours, ours)):
                side.kept[name] = str(_at(answer.body, path)).removeprefix("mlflow-artifacts:/")
        return theirs

    def compare(self, name: str, theirs: Answer, ours: Answer) -> None:
        """Raises UnlikeError unless the answers are the same, or differ as is listed."""
        self._learn(theirs.body, ours.body)
        exchange = Exchange(
            name,
            replace(theirs, body=_by_run(_renamed(theirs.body, self.theirs.labels), name)),
            replace(ours, body=_by_run(_renamed(ours.body, self.ours.labels), name)),
        )
        for difference in DIFFERENCES:
            told = difference.explain(exchange)
            # Not by ==, for which -0.0 is 0.0.
            if repr(told) != repr(exchange):
                self._found.add(difference)
                exchange = told
        if _sorted(exchange.theirs.body) != _sorted(exchange.ours.body) or (
            exchange.theirs.status != exchange.ours.status
        ):
            raise UnlikeError(
                f"{name}\n  MLflow: {_shown(exchange.theirs)}\n  ours:   {_shown(exchange.ours)}"
            )

    def _learn(self, theirs: Json, ours: Json) -> None:
        """Give ids that stand in the same place the same name."""
        for their_text, our_text in _same_places(theirs, ours):
            their_ids, our_ids = _ID.findall(their_text), _ID.findall(our_text)
            if len(their_ids) != len(our_ids):
                continue
            for their_id, our_id in zip(their_ids, our_ids, strict=True):
                if their_id not in self.theirs.labels and our_id not in self.ours.labels:
                    label = f"<id {len(self.theirs.labels) + 1}>"
                    self.theirs.labels[their_id] = self.ours.labels[our_id] = label


def _same_places(theirs: Json, ours: Json) -> Iterator[tuple[str, str]]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in theirs.keys() & ours.keys():
            yield from _same_places(theirs[key], ours[key])
    elif isinstance(theirs, list) and isinstance(ours, list):
        for one, other in zip(theirs, ours, strict=False):
            yield from _same_places(one, other)
    elif isinstance(theirs, str) and isinstance(ours, str):
        yield theirs, ours


def _renamed(value: Json, labels: dict[str, str]) -> Json:
    """Ids by their labels; the times of now and random names by what they are."""
    if isinstance(value, dict):
        return {key: _renamed(one, labels) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, labels) for one in value]
    if isinstance(value, str):
        if _RANDOM_NAME.fullmatch(value):
            return "<random name>"
        value = _ID.sub(lambda match: labels.get(match[0], match[0]), value)
        return _SET.sub(lambda match: _sorted_set(match[0]), value)
    if isinstance(value, int) and abs(value - time.time() * 1000) < _AROUND_NOW_MS:
        return "<now>"
    return value


def _by_run(body: Json, call: str) -> Json:
    """Histories of several runs come in the order of the runs' ids, which are random in MLflow."""
    if not call.endswith("/get-history-bulk") or "metrics" not in body:
        return body
    return body | {"metrics": sorted(body["metrics"], key=lambda point: point["run_id"])}


def _sorted_set(text: str) -> str:
    return "{" + ", ".join(sorted(text[1:-1].split(", "))) + "}"


def _sorted(value: Json, key: str = "") -> Json:
    """What MLflow gives in whatever order its database has, in one order."""
    if isinstance(value, dict):
        # A run's latest metrics have no order; a history has one.
        prefix = "latest " if key == "data" else ""
        return {name: _sorted(one, f"{prefix}{name}") for name, one in value.items()}
    if isinstance(value, list):
        values = [_sorted(one) for one in value]
        return sorted(values, key=_text) if key in _UNORDERED else values
    # NaN is not equal to itself; -0.0 is to 0.0.
    return repr(value) if isinstance(value, float) else value


_UNORDERED = {"tags", "params", "dataset_inputs", "model_inputs", "model_outputs", "aliases"}
_UNORDERED |= {"dataset_summaries", "latest metrics", "latest params", "latest tags"}


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _fill(value: Json, kept: dict[str, str]) -> Json:
    if isinstance(value, dict):
        return {key: _fill(one, kept) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(one, kept) for one in value)
    return string.Template(value).safe_substitute(kept) if isinstance(value, str) else value


def _at(value: Json, path: str) -> Json:
    for step in path.split("."):
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (KeyError, IndexError, TypeError):
            raise UnlikeError(f"there is no {path!r} to keep in {value}") from None
    return value


def _shown(answer: Answer) -> str:
    return f"{answer.status} {json.dumps(_sorted(answer.body), ensure_ascii=False)[:3000]}"
