"""Every field of every request, filled with what no honest client sends: each is refused with a
reason or taken, and never fails the server."""

import copy
import json
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.artifacts.paths import artifact_path
from app.artifacts.stores.path_rules import key_segments
from app.kernel.errors import InvalidValueError
from tests.conftest import client_of, new_slug
from tests.contract.isolation.belongings import Ids, belongings, filled_in
from tests.contract.isolation.case import IN_PATH
from tests.contract.isolation.cases import CASES
from tests.contract.isolation.routes import MLFLOW, PROXY, Served, served

# As they stand in JSON: some are numbers and texts that Python itself would not write.
VALUES = [
    *("9" * 5000, "-9223372036854775809", "9223372036854775808", "1e999", "-1e-999", "-0"),
    *("NaN", "true", "null", "[]", "{}", "[[[[]]]]", "[null]", '{"": {"": ""}}', '""', '" "'),
    *('"\\u0000"', '"\\ud800"', '"\\r\\nX-Injected: y"', json.dumps("x" * 50_000)),
    *('"\'; DROP TABLE runs; --"', '"{0.__class__} %s %(tenant)s $1 :x"', '"../../../etc/passwd"'),
]
PLACE = '"<hostile>"'

FUZZ = settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

_tried = 0


@pytest.fixture(autouse=True, scope="module")
def counted() -> Iterator[None]:
    yield
    print(f"\nhostile values: {_tried} requests")


@pytest.fixture(scope="module")
def routes(app: FastAPI) -> dict[str, Served]:
    return served(app)


@pytest_asyncio.fixture(scope="module")
async def client(app: FastAPI) -> Any:
    tenant = await app.state.services.tenant_lookup.resolve(new_slug(), create=True)
    async with client_of(app, tenant) as it:
        yield it


@pytest_asyncio.fixture(scope="module")
async def ids(client: httpx.AsyncClient) -> Ids:
    """What the caller has; each stands for what a case names of another tenant's."""
    found = (await belongings(client, "own")).ids
    own = {f"own_{kind}": value for kind, value in found.items()}
    return found | own | {"key": "0" * 12}


def with_each_part_replaced(template: Any) -> Iterator[Any]:
    """The template again and again, each time with another part of it replaced."""
    if isinstance(template, dict):
        for key, value in template.items():
            for changed in with_each_part_replaced(value):
                yield template | {key: changed}
    elif isinstance(template, list):
        for index, value in enumerate(template):
            for changed in with_each_part_replaced(value):
                copied = copy.copy(template)
                copied[index] = changed
                yield copied
    yield json.loads(PLACE)


def unfailing(answer: httpx.Response, what: object) -> None:
    global _tried
    _tried += 1
    assert answer.status_code < 500, (what, answer.text)
    assert "x-injected" not in answer.headers
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        problem = answer.json()
        assert problem.get("message") or problem.get("detail")


@pytest.mark.parametrize("name", sorted(CASES))
async def test_every_field(
    name: str, client: httpx.AsyncClient, ids: Ids, routes: dict[str, Served]
) -> None:
    route = routes[name]
    (case, *_) = [one for one in CASES[name] if one.json] or CASES[name]
    path = route.path
    for part, template in (IN_PATH | case.path).items():
        path = path.replace(f"{{{part}}}", filled_in(template, ids))
    for changed in with_each_part_replaced(case.json or {}):
        body = json.dumps(filled_in(changed, ids))
        for value in VALUES:
            content = body.replace(PLACE, value)
            if route.method in ("POST", "PATCH", "PUT", "DELETE") and case.json is not None:
                headers = {"content-type": "application/json"}
                answer = await client.request(route.method, path, content=content, headers=headers)
                unfailing(answer, (name, content[:300]))
    for field in sorted(query_fields(route, case.query)):
        for value in VALUES:
            # httpx takes no longer URLs.
            given = filled_in(case.query, ids) | {field: value.strip('"')[:20_000]}
            answer = await client.request(route.method, path, params=given)
            unfailing(answer, (name, field, value[:100]))


def query_fields(route: Served, given: dict[str, Any]) -> set[str]:
    if route.method in ("GET", "HEAD") and route.endpoint is not None:
        return set(route.endpoint.message.__struct_fields__)
    return set(given)


TOKENS = {
    "experiments_token": ("POST", "experiments/search", {}),
    "runs_token": ("POST", "runs/search", {"experiment_ids": ["<experiment>"]}),
    "models_token": ("POST", "logged-models/search", {"experiment_ids": ["<experiment>"]}),
    "registered_token": ("GET", "registered-models/search", {}),
    "versions_token": ("GET", "model-versions/search", {}),
    "history_token": ("GET", "metrics/get-history", {"run_id": "<run>", "metric_key": "<metric>"}),
    "files_token": ("GET", "artifacts/list", {"run_id": "<run>", "path": "<folder>"}),
}


@pytest.mark.parametrize("kind", TOKENS)
async def test_page_tokens(kind: str, client: httpx.AsyncClient, ids: Ids) -> None:
    """Truncated, with a letter changed, of another search, of random bytes: each is refused, or
    starts a page of the caller's own somewhere else."""
    method, route, fields = TOKENS[kind]
    good = ids[kind]

    async def page(token: str) -> httpx.Response:
        message = filled_in(fields, ids) | {"page_token": token}
        if "max_results" not in message and "artifacts" not in route:
            message["max_results"] = 1
        given = {"params": message} if method == "GET" else {"json": message}
        return await client.request(method, f"{MLFLOW}/{route}", **given)

    assert (await page(good)).status_code == 200
    others = [ids[other] for other in TOKENS if other != kind]
    for token in others:
        answer = await page(token)
        unfailing(answer, token)
        assert answer.status_code == 400
    changed = [good[:end] for end in range(1, len(good), 3)]
    changed += [
        f"{good[:at]}{letter}{good[at + 1 :]}" for at in range(0, len(good), 3) for letter in "A-"
    ]
    changed += [good * 2, f" {good}", f"{good}\n", "A" * 20_000, "=", "\0", "é", "null"]
    for token in changed:
        unfailing(await page(token), token)


@given(st.binary(max_size=80), st.sampled_from(sorted(TOKENS)))
@FUZZ
async def test_tokens_of_any_bytes(
    client: httpx.AsyncClient, ids: Ids, raw: bytes, kind: str
) -> None:
    method, route, fields = TOKENS[kind]
    message = filled_in(fields, ids) | {"page_token": urlsafe_b64encode(raw).decode()}
    given = {"params": message} if method == "GET" else {"json": message}
    unfailing(await client.request(method, f"{MLFLOW}/{route}", **given), raw)


PIECES = st.sampled_from(
    [
        *("..", ".", "/", "//", "\\", "%2e", "%2f", "%5c", "%25", "%00", "%", "#", "?", ":", ";"),
        *("a", "C:", "file:", "é", "\u202e", "\0", "\n", "\ud800", "~", "*", "con", " ", "..."),
    ]
)
PATHS = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=40)


def judged(path: str) -> tuple[str, InvalidValueError | None]:
    try:
        return artifact_path(path), None
    except InvalidValueError as error:
        return "", error


@given(PATHS)
@settings(FUZZ, max_examples=3000)
def test_artifact_paths(path: str) -> None:
    """What is accepted stays below its folder, however often a proxy or a store decodes it."""
    global _tried
    _tried += 1
    accepted, refusal = judged(path)
    if refusal is not None:
        assert refusal.field == "path"
        assert not any(unicodedata.category(one) in ("Cc", "Cs") for one in refusal.message)
        return
    assert artifact_path(accepted) == accepted
    decoded = [accepted]
    for _ in range(4):
        decoded.append(unquote(decoded[-1]))
    for one in decoded:
        segments = one.split("/")
        assert ".." not in segments
        assert "" not in segments
        assert "\\" not in one
    assert not set(accepted) & set("\0\n")
    assert key_segments(accepted) == accepted.split("/")


@given(PATHS)
@settings(FUZZ, max_examples=300)
async def test_artifact_paths_over_http(client: httpx.AsyncClient, ids: Ids, path: str) -> None:
    encoded = quote(path.encode("utf-8", "surrogatepass"), safe="")
    for method in ("PUT", "GET", "DELETE"):
        url = f"{PROXY}/artifacts/{ids['run_root']}/d/{encoded}"
        answer = await client.request(method, url, content=b"x" if method == "PUT" else None)
        unfailing(answer, (method, path))
