"""Registered models over HTTP, with the shapes, rules and wording of MLflow 3.17's server."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import new_slug
from tests.integration.mlflow_api.registry_calls import (
    IS_PROMPT,
    MODELS,
    VERSIONS,
    call,
    create_model,
    create_version,
    get_model,
    get_version,
    missing,
    no_model,
    no_version,
    ok,
    pair,
    refused,
    taken,
)

RESOLVES = (
    "Names may be treated as files in certain cases, and must not resolve to other names when"
    " treated as such. This name would resolve to "
)

# Every call that names a model, with its other fields.
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "get", {}),
    ("PATCH", "update", {"description": "d"}),
    ("POST", "rename", {"new_name": "n"}),
    ("DELETE", "delete", {}),
    ("GET", "get-latest-versions", {}),
    ("POST", "get-latest-versions", {"stages": ["None"]}),
    ("POST", "set-tag", {"key": "k", "value": "v"}),
    ("DELETE", "delete-tag", {"key": "k"}),
    ("DELETE", "alias", {"alias": "a"}),
    ("GET", "alias", {"alias": "a"}),
    ("GET", "alias", {"alias": "latest"}),
]


class TestEveryCall:
    @pytest.mark.parametrize(("method", "path", "fields"), CALLS)
    async def test_absent(
        self, client: httpx.AsyncClient, method: str, path: str, fields: dict[str, Any]
    ) -> None:
        no_model(await call(client, method, f"{MODELS}/{path}", name="m", **fields))

    @pytest.mark.parametrize(("method", "path", "fields"), CALLS)
    async def test_without_a_name(
        self, client: httpx.AsyncClient, method: str, path: str, fields: dict[str, Any]
    ) -> None:
        missing(await call(client, method, f"{MODELS}/{path}", **fields), "name")

    @pytest.mark.parametrize(("method", "path", "fields"), CALLS)
    @pytest.mark.parametrize("name", ["a/b", "a:b", "a\x00"])
    async def test_malformed_name(
        self, client: httpx.AsyncClient, method: str, path: str, fields: dict[str, Any], name: str
    ) -> None:
        answer = await call(client, method, f"{MODELS}/{path}", name=name, **fields)
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


class TestCreate:
    async def test_shape(self, client: httpx.AsyncClient) -> None:
        tags = [pair("b", "1"), pair("a", ""), pair("b", "2")]
        model = await create_model(client, description="about", tags=tags)
        assert model.pop("creation_timestamp") == model.pop("last_updated_timestamp") > 0
        assert model == {
            "name": "m",
            "description": "about",
            "tags": [pair("a", ""), pair("b", "2")],
        }

    async def test_empty_parts_are_left_out(self, client: httpx.AsyncClient) -> None:
        model = await create_model(client, description="")
        assert set(model) == {"name", "creation_timestamp", "last_updated_timestamp"}

    async def test_first_write_of_a_tenant(self, app: FastAPI) -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url=f"http://test/t/{new_slug()}"
        ) as client:
            await create_model(client)

    @pytest.mark.parametrize("name", ["a.", " lead", "ünï", "a%b", "a?b", "a#b", "a'b", "x" * 256])
    async def test_names(self, client: httpx.AsyncClient, name: str) -> None:
        await create_model(client, name)
        await create_version(client, name)
        assert (await get_model(client, name))["latest_versions"][0]["name"] == name

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (" ", "Missing value for required parameter 'name'."),
            ("a/b", "Invalid model name 'a/b'. Names cannot contain '/' or ':'."),
            ("a:b", "Invalid model name 'a:b'. Names cannot contain '/' or ':'."),
            (".", f"Invalid value \".\" for parameter 'name' supplied: {RESOLVES}'.'"),
            ("..", f"Invalid value \"..\" for parameter 'name' supplied: {RESOLVES}'..'"),
            ("x" * 257, "'name' exceeds the maximum length of 256 characters"),
        ],
    )
    async def test_no_names(self, client: httpx.AsyncClient, name: str, message: str) -> None:
        refused(await call(client, "POST", f"{MODELS}/create", name=name), message)

    @pytest.mark.parametrize(
        ("tag", "message"),
        [
            (pair("k" * 251, "v"), "'key' exceeds the maximum length of 250 characters"),
            (pair("k", "v" * 100_001), "'value' exceeds the maximum length of 100000 characters"),
            (
                pair("../k", "v"),
                f"Invalid value \"../k\" for parameter 'key' supplied: {RESOLVES}'../k'",
            ),
        ],
    )
    async def test_no_tags(
        self, client: httpx.AsyncClient, tag: dict[str, str], message: str
    ) -> None:
        refused(await call(client, "POST", f"{MODELS}/create", name="m", tags=[tag]), message)
        no_model(await call(client, "GET", f"{MODELS}/get", name="m"))

    async def test_long_tag_and_description(self, client: httpx.AsyncClient) -> None:
        tag = pair("k" * 250, "v" * 100_000)
        model = await create_model(client, tags=[tag], description="d" * 5000)
        assert model["tags"] == [tag]
        answer = await call(client, "POST", f"{MODELS}/create", name="n", description="d" * 5001)
        refused(answer, "'description' exceeds the maximum length of 5000 characters")

    async def test_taken(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        answer = await call(client, "POST", f"{MODELS}/create", name="m")
        taken(answer, "Registered Model (name=m) already exists.")
        answer = await call(client, "POST", f"{MODELS}/create", name="m", tags=[IS_PROMPT])
        taken(
            answer,
            "Tried to create a prompt with name 'm', but the name is already taken by a registered"
            " model. MLflow does not allow creating a model and a prompt with the same name.",
        )

    async def test_taken_by_a_prompt(self, client: httpx.AsyncClient) -> None:
        await create_model(client, tags=[IS_PROMPT])
        answer = await call(client, "POST", f"{MODELS}/create", name="m", tags=[IS_PROMPT])
        taken(answer, "Prompt (name=m) already exists.")
        answer = await call(client, "POST", f"{MODELS}/create", name="m")
        assert answer.json()["message"].startswith("Tried to create a registered model")


class TestUpdate:
    async def test_description(self, client: httpx.AsyncClient) -> None:
        created = await create_model(client, description="old")
        answer = await ok(client, "PATCH", f"{MODELS}/update", name="m", description="new")
        updated = answer["registered_model"]
        assert updated["description"] == "new"
        assert updated["last_updated_timestamp"] >= created["last_updated_timestamp"]
        assert updated["creation_timestamp"] == created["creation_timestamp"]

    @pytest.mark.parametrize("fields", [{}, {"description": ""}, {"description": None}])
    async def test_removing_it(self, client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
        await create_model(client, description="old")
        answer = await ok(client, "PATCH", f"{MODELS}/update", name="m", **fields)
        assert "description" not in answer["registered_model"]

    async def test_too_long(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        answer = await call(client, "PATCH", f"{MODELS}/update", name="m", description="d" * 5001)
        refused(answer, "'description' exceeds the maximum length of 5000 characters")


class TestRename:
    async def test_all_comes_along(self, client: httpx.AsyncClient) -> None:
        await create_model(client, tags=[pair("k", "v")])
        await create_version(client, tags=[pair("t", "w")])
        await ok(client, "POST", f"{MODELS}/alias", name="m", alias="a", version="1")
        answer = await ok(client, "POST", f"{MODELS}/rename", name="m", new_name="n")
        model = answer["registered_model"]
        assert model["tags"] == [pair("k", "v")]
        assert model["aliases"] == [{"alias": "a", "version": "1"}]
        version = await get_version(client, "n")
        assert (version["tags"], version["aliases"]) == ([pair("t", "w")], ["a"])
        assert version["last_updated_timestamp"] == model["last_updated_timestamp"]
        no_model(await call(client, "GET", f"{MODELS}/get", name="m"))
        no_version(await call(client, "GET", f"{VERSIONS}/get", name="m", version="1"))
        assert (await create_version(client, "n"))["version"] == "2"

    async def test_to_its_own_name(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await ok(client, "POST", f"{MODELS}/rename", name="m", new_name="m")

    async def test_taken(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await create_model(client, "n")
        answer = await call(client, "POST", f"{MODELS}/rename", name="m", new_name="n")
        taken(answer, "Registered Model (name=n) already exists.")
        await get_model(client)

    async def test_new_name(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        missing(await call(client, "POST", f"{MODELS}/rename", name="m"), "new_name")
        refused(
            await call(client, "POST", f"{MODELS}/rename", name="m", new_name="x/y"),
            "Invalid model name 'x/y'. Names cannot contain '/' or ':'.",
        )


class TestDelete:
    async def test_all_goes(self, client: httpx.AsyncClient) -> None:
        await create_model(client, tags=[pair("k", "v")])
        await create_version(client, tags=[pair("t", "w")])
        await ok(client, "POST", f"{MODELS}/alias", name="m", alias="a", version="1")
        assert await ok(client, "DELETE", f"{MODELS}/delete", name="m") == {}
        no_model(await call(client, "GET", f"{MODELS}/get", name="m"))
        no_version(await call(client, "GET", f"{VERSIONS}/get", name="m", version="1"))
        assert await ok(client, "GET", f"{VERSIONS}/search") == {}
        again = await create_model(client)
        assert "tags" not in again
        assert (await create_version(client))["version"] == "1"
        assert "aliases" not in await get_model(client)


class TestLatestVersions:
    @pytest.fixture
    async def staged(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        for _ in range(6):
            await create_version(client, tags=[pair("t", "v")])
        for version, stage in (
            ("1", "Staging"),
            ("2", "Production"),
            ("3", "Archived"),
            ("5", "Staging"),
        ):
            await ok(
                client, "POST", f"{VERSIONS}/transition-stage",
                name="m", version=version, stage=stage,
            )  # fmt: skip
        await ok(client, "POST", f"{MODELS}/alias", name="m", alias="a", version="5")

    @pytest.mark.usefixtures("staged")
    async def test_in_the_model(self, client: httpx.AsyncClient) -> None:
        """Ordered by the oldest version of each stage, each with its aliases."""
        model = await get_model(client)
        found = model["latest_versions"]
        assert [one["version"] for one in found] == ["5", "2", "3", "6"]
        assert [one.get("aliases") for one in found] == [["a"], None, None, None]
        assert all(one["tags"] for one in found)

    @pytest.mark.usefixtures("staged")
    async def test_in_a_search(self, client: httpx.AsyncClient) -> None:
        (model,) = (await ok(client, "GET", f"{MODELS}/search"))["registered_models"]
        stages = [one["current_stage"] for one in model["latest_versions"]]
        assert stages == ["Archived", "None", "Production", "Staging"]
        assert model["aliases"] == [{"alias": "a", "version": "5"}]
        assert [one.get("aliases") for one in model["latest_versions"]] == [None, None, None, ["a"]]

    @pytest.mark.usefixtures("staged")
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("stages", "expected"),
        [
            ([], ["5", "2", "3", "6"]),
            (["production"], ["2"]),
            (["NONE", "Staging"], ["5", "6"]),
        ],
    )
    async def test_of_stages(
        self, client: httpx.AsyncClient, method: str, stages: list[str], expected: list[str]
    ) -> None:
        answer = await ok(client, method, f"{MODELS}/get-latest-versions", name="m", stages=stages)
        found = answer["model_versions"]
        assert [one["version"] for one in found] == expected
        assert [one.get("aliases") for one in found if one["version"] == "5"] in ([], [["a"]])

    async def test_none(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        assert await ok(client, "GET", f"{MODELS}/get-latest-versions", name="m") == {}

    async def test_unknown_stage(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        refused(
            await call(client, "POST", f"{MODELS}/get-latest-versions", name="m", stages=["x"]),
            "Invalid Model Version stage: x. Value must be one of None, Staging, Production,"
            " Archived.",
        )


class TestTags:
    async def test_set_and_delete(self, client: httpx.AsyncClient) -> None:
        created = await create_model(client)
        for value in ("1", "2"):
            assert (
                await ok(client, "POST", f"{MODELS}/set-tag", name="m", key="k", value=value) == {}
            )
        model = await get_model(client)
        assert model["tags"] == [pair("k", "2")]
        assert model["last_updated_timestamp"] == created["last_updated_timestamp"]
        for _ in range(2):
            assert await ok(client, "DELETE", f"{MODELS}/delete-tag", name="m", key="k") == {}
        assert "tags" not in await get_model(client)

    async def test_without_a_value(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await ok(client, "POST", f"{MODELS}/set-tag", name="m", key="k")
        assert (await get_model(client))["tags"] == [pair("k", "")]

    async def test_no_key(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        missing(await call(client, "POST", f"{MODELS}/set-tag", name="m", value="v"), "key")
        missing(await call(client, "DELETE", f"{MODELS}/delete-tag", name="m"), "key")
        answer = await call(client, "DELETE", f"{MODELS}/delete-tag", name="m", key="a/../b")
        refused(answer, f"Invalid value \"a/../b\" for parameter 'key' supplied: {RESOLVES}'b'")
