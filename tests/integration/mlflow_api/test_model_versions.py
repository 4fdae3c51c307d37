"""Model versions over HTTP, with the shapes, rules and wording of MLflow 3.17's server."""

from typing import Any

import httpx
import pytest

from tests.integration.mlflow_api.registry_calls import (
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
)

# Every call that names a version, with its other fields.
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "get", {}),
    ("PATCH", "update", {"description": "d"}),
    ("DELETE", "delete", {}),
    ("GET", "get-download-uri", {}),
    ("POST", "transition-stage", {"stage": "Production"}),
    ("POST", "transition-stage", {"stage": "Production", "archive_existing_versions": True}),
    ("POST", "set-tag", {"key": "k", "value": "v"}),
    ("DELETE", "delete-tag", {"key": "k"}),
]
LINK = "https://host/run"


class TestEveryCall:
    @pytest.mark.parametrize(("method", "path", "fields"), CALLS)
    async def test_absent(
        self, client: httpx.AsyncClient, method: str, path: str, fields: dict[str, Any]
    ) -> None:
        await create_model(client)
        await create_version(client)
        for name, version in (("m", "2"), ("m", "0"), ("m", "-1"), ("m", str(2**63)), ("n", "1")):
            answer = await call(
                client, method, f"{VERSIONS}/{path}", name=name, version=version, **fields
            )
            no_version(answer, name, version)

    @pytest.mark.parametrize(("method", "path", "fields"), CALLS)
    @pytest.mark.parametrize("version", ["x", "1.5", "", "1\x00"])
    async def test_no_number(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        fields: dict[str, Any],
        version: str,
    ) -> None:
        answer = await call(
            client, method, f"{VERSIONS}/{path}", name="m", version=version, **fields
        )
        if version or path == "get-download-uri":
            refused(answer, f"Parameter 'version' must be an integer, got '{version}'.")
        else:
            missing(answer, "version")

    @pytest.mark.parametrize(("method", "path", "fields"), CALLS)
    async def test_malformed_name(
        self, client: httpx.AsyncClient, method: str, path: str, fields: dict[str, Any]
    ) -> None:
        answer = await call(client, method, f"{VERSIONS}/{path}", name="a/b", version="1", **fields)
        refused(answer, "Invalid model name 'a/b'. Names cannot contain '/' or ':'.")

    async def test_numbers_as_python_reads_them(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await create_version(client)
        for version in (" 1 ", "+1", "01"):
            assert (await get_version(client, "m", version))["version"] == "1"


class TestCreate:
    async def test_shape(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        version = await create_version(
            client,
            run_id="r" * 32,
            run_link=LINK,
            description="about",
            tags=[pair("b", "1"), pair("a", ""), pair("b", "2")],
        )
        assert version.pop("creation_timestamp") == version.pop("last_updated_timestamp") > 0
        assert version == {
            "name": "m",
            "version": "1",
            "current_stage": "None",
            "description": "about",
            "source": "s3://bucket/model",
            "run_id": "r" * 32,
            "status": "READY",
            "tags": [pair("a", ""), pair("b", "2")],
            "run_link": LINK,
        }

    async def test_empty_parts(self, client: httpx.AsyncClient) -> None:
        """Empty texts are sent, empty lists are left out."""
        await create_model(client)
        version = await create_version(client)
        assert version["description"] == version["run_id"] == version["run_link"] == ""
        assert not {"tags", "aliases", "user_id", "status_message", "model_id"} & set(version)

    async def test_numbers(self, client: httpx.AsyncClient) -> None:
        """Each model numbers its own versions, and reuses no number."""
        await create_model(client)
        await create_model(client, "n")
        assert [(await create_version(client))["version"] for _ in range(3)] == ["1", "2", "3"]
        assert (await create_version(client, "n"))["version"] == "1"
        for version in ("3", "1"):
            await ok(client, "DELETE", f"{VERSIONS}/delete", name="m", version=version)
        assert (await create_version(client))["version"] == "4"

    async def test_touches_the_model(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        version = await create_version(client)
        model = await get_model(client)
        assert model["last_updated_timestamp"] == version["creation_timestamp"]

    async def test_absent_model(self, client: httpx.AsyncClient) -> None:
        no_model(await call(client, "POST", f"{VERSIONS}/create", name="m", source="s3://b/x"))

    async def test_required(self, client: httpx.AsyncClient) -> None:
        missing(await call(client, "POST", f"{VERSIONS}/create", source="s3://b/x"), "name")
        missing(await call(client, "POST", f"{VERSIONS}/create", name="m"), "source")

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (
                {"tags": [pair("k", "v" * 100_001)]},
                "'value' exceeds the maximum length of 100000 characters",
            ),
            (
                {"tags": [pair("mlflow.prompt.text", "v" * 100_001)]},
                "Prompt text exceeds max length of 100000 characters.",
            ),
            (
                {"tags": [pair("k" * 251, "v")]},
                "'key' exceeds the maximum length of 250 characters",
            ),
            (
                {"description": "d" * 5001},
                "'description' exceeds the maximum length of 5000 characters",
            ),
            ({"run_id": "r" * 33}, "'run_id' exceeds the maximum length of 32 characters"),
            ({"run_link": "l" * 501}, "'run_link' exceeds the maximum length of 500 characters"),
        ],
    )
    async def test_limits(
        self, client: httpx.AsyncClient, fields: dict[str, Any], message: str
    ) -> None:
        await create_model(client)
        answer = await call(
            client, "POST", f"{VERSIONS}/create", name="m", source="s3://b/x", **fields
        )
        refused(answer, message)
        assert (await create_version(client))["version"] == "1"


class TestUpdate:
    async def test_description(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await create_version(client)
        fields = {"name": "m", "version": "1"}
        for description in ("new", ""):
            answer = await ok(
                client, "PATCH", f"{VERSIONS}/update", **fields, description=description
            )
            assert answer["model_version"]["description"] == description
        answer = await ok(client, "PATCH", f"{VERSIONS}/update", **fields)
        assert "description" not in answer["model_version"]

    async def test_a_number_is_no_text(self, client: httpx.AsyncClient) -> None:
        refused(
            await call(client, "PATCH", f"{VERSIONS}/update", name="m", version=1),
            "Invalid value 1 for parameter 'version' supplied:  Hint: Value was of type 'int'."
            " See the API docs for more information about request parameters.",
        )


class TestStages:
    @pytest.fixture(autouse=True)
    async def versions(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        for _ in range(3):
            await create_version(client)

    @staticmethod
    async def move(
        client: httpx.AsyncClient, version: str, stage: str, **fields: Any
    ) -> httpx.Response:
        return await call(
            client,
            "POST",
            f"{VERSIONS}/transition-stage",
            name="m",
            version=version,
            stage=stage,
            **fields,
        )

    @pytest.mark.parametrize(
        ("given", "stage"),
        [
            ("production", "Production"),
            ("STAGING", "Staging"),
            ("Archived", "Archived"),
            ("none", "None"),
        ],
    )
    async def test_in_any_case(self, client: httpx.AsyncClient, given: str, stage: str) -> None:
        answer = await self.move(client, "1", given)
        moved = answer.json()["model_version"]
        assert moved["current_stage"] == stage
        model = await get_model(client)
        assert model["last_updated_timestamp"] == moved["last_updated_timestamp"]

    @pytest.mark.parametrize("stage", ["bogus", "Deleted_Internal"])
    async def test_unknown(self, client: httpx.AsyncClient, stage: str) -> None:
        refused(
            await self.move(client, "1", stage),
            f"Invalid Model Version stage: {stage}. Value must be one of None, Staging,"
            " Production, Archived.",
        )
        missing(await self.move(client, "1", ""), "stage")

    async def test_archiving_the_others(self, client: httpx.AsyncClient) -> None:
        for version in "12":
            await self.move(client, version, "Production")
        await self.move(client, "3", "Staging")
        for _ in range(2):
            answer = await self.move(client, "2", "production", archive_existing_versions=True)
            assert answer.json()["model_version"]["current_stage"] == "Production"
        stages = [(await get_version(client, "m", one))["current_stage"] for one in "123"]
        assert stages == ["Archived", "Production", "Staging"]

    async def test_only_active_stages_are_cleared(self, client: httpx.AsyncClient) -> None:
        refused(
            await self.move(client, "1", "archived", archive_existing_versions=True),
            "Model version transition cannot archive existing model versions because 'archived'"
            " is not an Active stage. Valid stages are ['Staging', 'Production']",
        )


class TestDelete:
    async def test_it_is_gone(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await create_version(client)
        await create_version(client)
        assert await ok(client, "DELETE", f"{VERSIONS}/delete", name="m", version="2") == {}
        no_version(
            await call(client, "DELETE", f"{VERSIONS}/delete", name="m", version="2"), "m", "2"
        )
        assert [one["version"] for one in (await get_model(client))["latest_versions"]] == ["1"]
        answer = await ok(client, "GET", f"{MODELS}/alias", name="m", alias="latest")
        assert answer["model_version"]["version"] == "1"


class TestTags:
    async def test_set_and_delete(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        created = await create_version(client)
        fields = {"name": "m", "version": "1", "key": "k"}
        for value in ("1", "2"):
            assert await ok(client, "POST", f"{VERSIONS}/set-tag", **fields, value=value) == {}
        found = await get_version(client)
        assert found["tags"] == [pair("k", "2")]
        assert found["last_updated_timestamp"] == created["last_updated_timestamp"]
        await ok(client, "POST", f"{VERSIONS}/set-tag", **fields)
        assert (await get_version(client))["tags"] == [pair("k", "")]
        for _ in range(2):
            assert await ok(client, "DELETE", f"{VERSIONS}/delete-tag", **fields) == {}
        assert "tags" not in await get_version(client)

    async def test_key_and_value(self, client: httpx.AsyncClient) -> None:
        await create_model(client)
        await create_version(client)
        named = {"name": "m", "version": "1"}
        missing(await call(client, "POST", f"{VERSIONS}/set-tag", **named), "key")
        missing(await call(client, "DELETE", f"{VERSIONS}/delete-tag", **named), "key")
        answer = await call(
            client, "POST", f"{VERSIONS}/set-tag", **named, key="k", value="v" * 100_001
        )
        refused(answer, "'value' exceeds the maximum length of 100000 characters")
        answer = await call(client, "POST", f"{VERSIONS}/set-tag", **named, key="a!", value="v")
        assert "Names may only contain alphanumerics" in answer.json()["message"]


async def test_download_uri(client: httpx.AsyncClient) -> None:
    await create_model(client)
    await create_version(client, source="s3://bucket/one")
    answer = await ok(client, "GET", f"{VERSIONS}/get-download-uri", name="m", version="1")
    assert answer == {"artifact_uri": "s3://bucket/one"}
    answer = await call(client, "GET", f"{VERSIONS}/get-download-uri")
    refused(answer, "Missing value for required parameter 'name'.")
