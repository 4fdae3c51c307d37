"""The aliases of model versions over HTTP, with the rules and wording of MLflow 3.17's server."""

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
    no_version,
    not_found,
    ok,
    refused,
)


@pytest.fixture(autouse=True)
async def versions(client: httpx.AsyncClient) -> None:
    """A model with two versions."""
    await create_model(client)
    await create_version(client)
    await create_version(client)


class TestAliases:
    async def test_moves(self, client: httpx.AsyncClient) -> None:
        for version in "12":
            answer = await ok(
                client, "POST", f"{MODELS}/alias", name="m", alias="a", version=version
            )
            assert answer == {}
            found = await ok(client, "GET", f"{MODELS}/alias", name="m", alias="a")
            assert found["model_version"]["version"] == version
            assert found["model_version"]["aliases"] == ["a"]
        assert (await get_model(client))["aliases"] == [{"alias": "a", "version": "2"}]
        assert "aliases" not in await get_version(client)

    async def test_delete(self, client: httpx.AsyncClient) -> None:
        await ok(client, "POST", f"{MODELS}/alias", name="m", alias="a", version="1")
        for _ in range(2):
            assert await ok(client, "DELETE", f"{MODELS}/alias", name="m", alias="a") == {}
        answer = await call(client, "GET", f"{MODELS}/alias", name="m", alias="a")
        refused(answer, "Registered model alias a not found.")

    async def test_go_with_the_version(self, client: httpx.AsyncClient) -> None:
        for alias in ("b", "B", "a"):
            await ok(client, "POST", f"{MODELS}/alias", name="m", alias=alias, version="1")
        assert (await get_version(client))["aliases"] == ["B", "a", "b"]
        await ok(client, "DELETE", f"{VERSIONS}/delete", name="m", version="1")
        assert "aliases" not in await get_model(client)

    @pytest.mark.parametrize("alias", ["latest", "LATEST"])
    async def test_latest(self, client: httpx.AsyncClient, alias: str) -> None:
        await ok(
            client, "POST", f"{VERSIONS}/transition-stage",
            name="m", version="2", stage="Archived",
        )  # fmt: skip
        found = await ok(client, "GET", f"{MODELS}/alias", name="m", alias=alias)
        assert found["model_version"]["version"] == "2"
        await create_model(client, "empty")
        answer = await call(client, "GET", f"{MODELS}/alias", name="empty", alias=alias)
        not_found(answer, "Latest version not found for model empty.")

    @pytest.mark.parametrize("alias", ["v", "v1x", "ünï", "a-b_c", "x" * 255])
    async def test_names(self, client: httpx.AsyncClient, alias: str) -> None:
        await ok(client, "POST", f"{MODELS}/alias", name="m", alias=alias, version="1")

    @pytest.mark.parametrize(
        ("alias", "message"),
        [
            ("latest", "'latest' alias name (case insensitive) is reserved."),
            ("Latest", "'latest' alias name (case insensitive) is reserved."),
            ("v1", "Version alias name 'v1' is reserved."),
            ("V22", "Version alias name 'V22' is reserved."),
        ],
    )
    async def test_reserved(self, client: httpx.AsyncClient, alias: str, message: str) -> None:
        answer = await call(client, "POST", f"{MODELS}/alias", name="m", alias=alias, version="1")
        refused(answer, message)
        assert await ok(client, "DELETE", f"{MODELS}/alias", name="m", alias=alias) == {}

    @pytest.mark.parametrize("alias", ["a b", "a.b", "a/b", "a\n", "x" * 256])
    @pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
    async def test_no_names(self, client: httpx.AsyncClient, method: str, alias: str) -> None:
        fields = {"version": "1"} if method == "POST" else {}
        answer = await call(client, method, f"{MODELS}/alias", name="m", alias=alias, **fields)
        message = (
            "'Registered model alias name' exceeds the maximum length of 255 characters"
            if len(alias) > 255
            else f"Invalid alias name: '{alias}'. Names may only contain alphanumerics,"
            " underscores (_), and dashes (-)."
        )
        refused(answer, message)

    async def test_of_an_absent_version(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient
    ) -> None:
        for version in ("3", "0", "-1", str(2**63)):
            no_version(
                await call(client, "POST", f"{MODELS}/alias", name="m", alias="a", version=version),
                version=version,
            )
        no_version(
            await call(other_client, "POST", f"{MODELS}/alias", name="m", alias="a", version="1")
        )
        answer = await call(client, "POST", f"{MODELS}/alias", name="m", alias="a", version="x")
        refused(answer, "Parameter 'version' must be an integer, got 'x'.")

    async def test_missing_fields(self, client: httpx.AsyncClient) -> None:
        answer = await call(client, "POST", f"{MODELS}/alias", name="m", version="1")
        missing(answer, "alias")
        answer = await call(client, "POST", f"{MODELS}/alias", name="m", alias="a")
        missing(answer, "version")
