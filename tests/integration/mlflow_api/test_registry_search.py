"""Search of registered models and model versions over HTTP."""

from typing import Any

import httpx
import pytest

from tests.integration.mlflow_api.registry_calls import (
    IS_PROMPT,
    MODELS,
    VERSIONS,
    call,
    create_model,
    create_version,
    ok,
    pair,
)


async def names(client: httpx.AsyncClient, **fields: Any) -> list[str]:
    answer = await ok(client, "GET", f"{MODELS}/search", **fields)
    return [one["name"] for one in answer.get("registered_models", [])]


async def versions(client: httpx.AsyncClient, **fields: Any) -> list[str]:
    answer = await ok(client, "GET", f"{VERSIONS}/search", **fields)
    return [f"{one['name']}{one['version']}" for one in answer.get("model_versions", [])]


@pytest.fixture
async def registry(client: httpx.AsyncClient) -> None:
    """Models a, b and C with versions a1, b1, b2, changed in that order, and the prompt p1."""
    await create_model(client, "a", tags=[pair("team", "x")])
    await create_model(client, "b", tags=[pair("team", "y"), pair("k.1", "v")])
    await create_model(client, "C")
    await create_model(client, "p", tags=[IS_PROMPT, pair("team", "x")])
    await create_version(client, "a", "s3://bucket/a", run_id="r1", tags=[pair("t", "1")])
    await create_version(client, "b", "s3://bucket/b", run_id="r1")
    await create_version(client, "b", "s3://bucket/B", run_id="r2", tags=[pair("t", "2")])
    await create_version(client, "p", "dummy-source", tags=[IS_PROMPT])


@pytest.mark.usefixtures("registry")
class TestRegisteredModels:
    async def test_all(self, client: httpx.AsyncClient) -> None:
        """Ordered by name, by code points, and without prompts."""
        assert await names(client) == ["C", "a", "b"]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("name = 'a'", ["a"]),
            ("attribute.name != 'a'", ["C", "b"]),
            ("name LIKE 'c%'", []),
            ("name ILIKE 'c%'", ["C"]),
            ("name IN ('a', 'b', 'z')", ["a", "b"]),
            ("name NOT IN ('a')", ["C", "b"]),
            ("tags.team = 'x'", ["a"]),
            ("tag.team != 'x'", ["b"]),
            ("tags.`k.1` LIKE 'V'", []),
            ("tags.`k.1` ILIKE 'V' AND name = 'b'", ["b"]),
            ("tags.nope = 'x'", []),
        ],
    )
    async def test_filters(
        self, client: httpx.AsyncClient, filter: str, expected: list[str]
    ) -> None:
        assert await names(client, filter=filter) == expected

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("tags.`mlflow.prompt.is_prompt` = 'true'", ["p"]),
            ("tag.`mlflow.prompt.is_prompt` != 'false'", ["p"]),
            ("tags.`mlflow.prompt.is_prompt` = 'true' AND tags.team = 'y'", []),
            ("tags.`mlflow.prompt.is_prompt` = 'TRUE'", []),
            ("tags.`mlflow.prompt.is_prompt` != 'true'", ["C", "a", "b"]),
            ("tags.`mlflow.prompt.is_prompt` = 'false' AND tags.team = 'x'", ["a"]),
            ("tags.`mlflow.prompt.is_prompt` LIKE 'tr%'", ["C", "a", "b"]),
            ("tags.team = 'x'", ["a"]),
        ],
    )
    async def test_prompts(
        self, client: httpx.AsyncClient, filter: str, expected: list[str]
    ) -> None:
        assert await names(client, filter=filter) == expected

    @pytest.mark.parametrize(
        ("order_by", "expected"),
        [
            (["name DESC"], ["b", "a", "C"]),
            (["timestamp"], ["C", "a", "b"]),
            (["last_updated_timestamp desc", "name"], ["b", "a", "C"]),
        ],
    )
    async def test_orders(
        self, client: httpx.AsyncClient, order_by: list[str], expected: list[str]
    ) -> None:
        assert await names(client, order_by=order_by) == expected

    async def test_pages(self, client: httpx.AsyncClient) -> None:
        found: list[str] = []
        token = ""
        for _ in range(3):
            answer = await ok(
                client, "GET", f"{MODELS}/search", max_results=1, page_token=token,
                order_by=["timestamp DESC"],
            )  # fmt: skip
            found += [one["name"] for one in answer["registered_models"]]
            token = answer.get("next_page_token", "")
        assert (found, token) == (["b", "a", "C"], "")


@pytest.mark.usefixtures("registry")
class TestModelVersions:
    async def test_all(self, client: httpx.AsyncClient) -> None:
        """The last changed come first."""
        assert await versions(client) == ["b2", "b1", "a1"]
        await ok(
            client, "PATCH", f"{VERSIONS}/update", name="a", version="1", description="changed"
        )
        assert await versions(client) == ["a1", "b2", "b1"]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ("name = 'b'", ["b2", "b1"]),
            ("name IN ('a') AND run_id IN ('r1', 'r2')", ["a1"]),
            ("run_id = 'r1'", ["b1", "a1"]),
            ("run_id NOT IN ('r1')", ["b2"]),
            ("source_path = 's3://bucket/a'", ["a1"]),
            ("source_path ILIKE '%/b'", ["b2", "b1"]),
            ("version_number > 1", ["b2"]),
            ("version_number = '2'", ["b2"]),
            ("version_number != 99999999999999999999", ["b2", "b1", "a1"]),
            ("tags.t != '1'", ["b2"]),
            ("tags.`mlflow.prompt.is_prompt` = 'true'", ["p1"]),
            ("tags.`mlflow.prompt.is_prompt` = 'false'", ["b2", "b1", "a1"]),
            ("name = 'p'", []),
        ],
    )
    async def test_filters(
        self, client: httpx.AsyncClient, filter: str, expected: list[str]
    ) -> None:
        assert await versions(client, filter=filter) == expected

    @pytest.mark.parametrize(
        ("order_by", "expected"),
        [
            (["name"], ["a1", "b2", "b1"]),
            (["version_number"], ["a1", "b1", "b2"]),
            (["creation_timestamp DESC"], ["b2", "b1", "a1"]),
            (["name DESC", "version_number ASC"], ["b1", "b2", "a1"]),
        ],
    )
    async def test_orders(
        self, client: httpx.AsyncClient, order_by: list[str], expected: list[str]
    ) -> None:
        assert await versions(client, order_by=order_by) == expected

    async def test_pages(self, client: httpx.AsyncClient) -> None:
        """A version that is created meanwhile is not on later pages."""
        first = await ok(client, "GET", f"{VERSIONS}/search", max_results=1)
        await create_version(client, "a")
        rest = await versions(client, max_results=5, page_token=first["next_page_token"])
        assert rest == ["b1", "a1"]

    async def test_a_prompts_version_hides_its_siblings(self, client: httpx.AsyncClient) -> None:
        await create_version(client, "b", "dummy-source", tags=[IS_PROMPT])
        assert await versions(client) == ["a1"]
        assert await versions(client, filter="tags.`mlflow.prompt.is_prompt` = 'true'") == [
            "b3",
            "p1",
        ]


class TestBoth:
    @pytest.mark.parametrize(("url", "limit"), [(MODELS, 1000), (VERSIONS, 200_000)])
    async def test_max_results(self, client: httpx.AsyncClient, url: str, limit: int) -> None:
        assert await ok(client, "GET", f"{url}/search", max_results=limit) == {}
        for given in (limit + 1, 0, -1, "x"):
            answer = await call(client, "GET", f"{url}/search", max_results=given)
            assert answer.status_code == 400
            assert "'max_results'" in answer.json()["message"]

    @pytest.mark.parametrize("url", [MODELS, VERSIONS])
    @pytest.mark.parametrize(
        "fields",
        [
            {"filter": "bogus = 'a'"},
            {"filter": "name > 'a'"},
            {"filter": "name = 5"},
            {"filter": "name = ('a')"},
            {"filter": "name = a"},
            {"filter": "tags.t IN ('a')"},
            {"filter": "tags.t IS NULL"},
            {"filter": "metrics.m > 1"},
            {"filter": "name = 'a' OR name = 'b'"},
            {"filter": "tags.`mlflow.prompt.is_prompt` > 'true'"},
            {"filter": "name = '\x00'"},
            {"order_by": ["bogus"]},
            {"order_by": ["tags.t"]},
            {"order_by": ["name FOO"]},
            {"order_by": ["name", "name DESC"]},
            {"page_token": "junk"},
        ],
    )
    async def test_refused(
        self, client: httpx.AsyncClient, url: str, fields: dict[str, Any]
    ) -> None:
        answer = await call(client, "GET", f"{url}/search", **fields)
        assert (answer.status_code, answer.json()["error_code"]) == (
            400,
            "INVALID_PARAMETER_VALUE",
        )

    @pytest.mark.parametrize("value", ["1.5", "'x'", "''", "(1)", "x"])
    async def test_version_numbers_are_whole(self, client: httpx.AsyncClient, value: str) -> None:
        answer = await call(client, "GET", f"{VERSIONS}/search", filter=f"version_number = {value}")
        assert answer.status_code == 400

    async def test_a_token_of_another_search(self, client: httpx.AsyncClient) -> None:
        await create_model(client, "a")
        await create_model(client, "b")
        answer = await ok(client, "GET", f"{MODELS}/search", max_results=1)
        token = answer["next_page_token"]
        answer = await call(
            client, "GET", f"{MODELS}/search", page_token=token, filter="name != 'x'"
        )
        assert answer.json()["message"].startswith("Invalid page token")
