"""Tags, params and artifacts of logged models."""

import asyncio

import httpx
import pytest

from tests.integration.mlflow_api.model_calls import (
    API,
    MODELS,
    NOWHERE,
    create,
    create_id,
    get,
    invalid,
    not_found,
    refused,
)


class TestTags:
    async def test_set(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client, tags=[{"key": "a", "value": "1"}])
        tags = [{"key": "a", "value": "2"}, {"key": "b", "value": "3"}, {"key": "a", "value": "4"}]
        answer = await client.patch(f"{MODELS}/{model_id}/tags", json={"tags": tags})
        assert (answer.status_code, answer.json()) == (200, {})
        shown = (await get(client, model_id))["info"]["tags"]
        assert shown == [{"key": "a", "value": "4"}, {"key": "b", "value": "3"}]

    async def test_set_none(self, client: httpx.AsyncClient) -> None:
        answer = await client.patch(f"{MODELS}/{await create_id(client)}/tags", json={})
        assert answer.status_code == 200

    async def test_set_is_all_or_nothing(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        tags = [{"key": "a", "value": "1"}, {"key": "", "value": "2"}]
        answer = await client.patch(f"{MODELS}/{model_id}/tags", json={"tags": tags})
        invalid(answer, "tags[1].key", "A key name must be provided.")
        assert "tags" not in (await get(client, model_id))["info"]

    async def test_several_clients_at_once(self, client: httpx.AsyncClient) -> None:
        """They are serialized; the last one wins."""
        model_id = await create_id(client)
        keys = [f"k{n}" for n in range(50)]

        async def set_all(value: str, keys: list[str]) -> int:
            tags = [{"key": key, "value": value} for key in keys]
            answer = await client.patch(f"{MODELS}/{model_id}/tags", json={"tags": tags})
            return answer.status_code

        forth = [set_all(f"{n}", keys) for n in range(4)]
        back = [set_all(f"-{n}", keys[::-1]) for n in range(4)]
        assert set(await asyncio.gather(*forth, *back)) == {200}
        assert len({tag["value"] for tag in (await get(client, model_id))["info"]["tags"]}) == 1

    async def test_delete(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client, tags=[{"key": "a b", "value": "1"}])
        answer = await client.delete(f"{MODELS}/{model_id}/tags/a%20b")
        assert (answer.status_code, answer.json()) == (200, {})
        assert "tags" not in (await get(client, model_id))["info"]
        refused(
            await client.delete(f"{MODELS}/{model_id}/tags/a%20b"),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            f"No tag with key 'a b' found for model with ID '{model_id}'.",
        )

    async def test_delete_nul(self, client: httpx.AsyncClient) -> None:
        invalid(await client.delete(f"{MODELS}/{await create_id(client)}/tags/a%00"), "tag_key")


class TestParams:
    async def test_log(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client, params=[{"key": "a", "value": "1"}])
        body = {"model_id": model_id, "params": [{"key": "b", "value": "2"}]}
        answer = await client.post(f"{MODELS}/{model_id}/params", json=body)
        assert (answer.status_code, answer.json()) == (200, {})
        shown = (await get(client, model_id))["data"]["params"]
        assert shown == [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]

    async def test_retry(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client)
        body = {"params": [{"key": "a", "value": "1"}]}
        for _ in range(2):
            answer = await client.post(f"{MODELS}/{model_id}/params", json=body)
            assert answer.status_code == 200
        assert (await get(client, model_id))["data"]["params"] == body["params"]

    async def test_repeated_key(self, client: httpx.AsyncClient) -> None:
        twice = [{"key": "k", "value": "1"}, {"key": "k", "value": "1"}]
        url = f"{MODELS}/{await create_id(client)}/params"
        answer = await client.post(url, json={"params": twice})
        invalid(answer, "Duplicate parameter keys have been submitted: ['k'].")

    async def test_changed_value(self, client: httpx.AsyncClient) -> None:
        model_id = await create_id(client, params=[{"key": "a", "value": "1"}])
        params = [{"key": "b", "value": "1"}, {"key": "a", "value": "2"}]
        answer = await client.post(f"{MODELS}/{model_id}/params", json={"params": params})
        invalid(answer, "Changing param values is not allowed.", "key='a'", "value='1'", "'2'")
        shown = (await get(client, model_id))["data"]["params"]
        assert shown == [{"key": "a", "value": "1"}]

    @pytest.mark.parametrize(
        "pair",
        [
            {"key": "k" * 256, "value": ""},
            {"key": "k", "value": "v" * 65_536},
            {"key": "", "value": ""},
            {"key": "\x00", "value": ""},
            {"key": "k", "value": "\x00"},
            {"key": "k", "value": 1},
        ],
    )
    async def test_invalid(self, client: httpx.AsyncClient, pair: dict[str, object]) -> None:
        url = f"{MODELS}/{await create_id(client)}/params"
        invalid(await client.post(url, json={"params": [pair]}), "params[0].")

    async def test_longest(self, client: httpx.AsyncClient) -> None:
        params = [{"key": "k" * 255, "value": "v" * 65_535}]
        assert (await create(client, params=params))["data"]["params"] == params


class TestArtifacts:
    async def test_directories(self, client: httpx.AsyncClient) -> None:
        model = await create(client)
        root = model["info"]["artifact_uri"]
        proxy = "/api/2.0/mlflow-artifacts/artifacts" + root.removeprefix("mlflow-artifacts:")
        for path in ("MLmodel", "data/model.pkl", "data/deep/x"):
            assert (await client.put(f"{proxy}/{path}", content=b"12")).status_code == 200
        url = f"{MODELS}/{model['info']['model_id']}/artifacts/directories"
        assert (await client.get(url)).json() == {
            "root_uri": root,
            "files": [
                {"path": "MLmodel", "is_dir": False, "file_size": 2},
                {"path": "data", "is_dir": True},
            ],
        }
        below = await client.get(url, params={"artifact_directory_path": "data"})
        assert below.json()["files"] == [
            {"path": "data/deep", "is_dir": True},
            {"path": "data/model.pkl", "is_dir": False, "file_size": 2},
        ]
        nowhere = await client.get(url, params={"artifact_directory_path": "nope"})
        assert nowhere.json() == {"root_uri": root}

    @pytest.mark.parametrize("path", ["../x", "/etc", "a\x00", "a/%2e%2e/b"])
    async def test_unsafe_path(self, client: httpx.AsyncClient, path: str) -> None:
        url = f"{MODELS}/{await create_id(client)}/artifacts/directories"
        invalid(await client.get(url, params={"artifact_directory_path": path}), "Invalid path")

    async def test_location_of_the_users(self, client: httpx.AsyncClient) -> None:
        made = await client.post(
            f"{API}/experiments/create", json={"name": "s3", "artifact_location": "s3://bucket"}
        )
        model_id = await create_id(client, experiment_id=made.json()["experiment_id"])
        answer = await client.get(f"{MODELS}/{model_id}/artifacts/directories")
        invalid(answer, f"s3://bucket/models/{model_id}/artifacts")


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("GET", "?allow_deleted=true", None),
        ("PATCH", "", {"status": "LOGGED_MODEL_READY"}),
        ("DELETE", "", None),
        ("PATCH", "/tags", {"tags": [{"key": "k", "value": "v"}]}),
        ("DELETE", "/tags/k", None),
        ("POST", "/params", {"params": [{"key": "k", "value": "v"}]}),
        ("GET", "/artifacts/directories", None),
    ],
)
class TestAbsent:
    async def test_never_was(
        self, client: httpx.AsyncClient, method: str, suffix: str, body: object
    ) -> None:
        answer = await client.request(method, f"{MODELS}/{NOWHERE}{suffix}", json=body)
        not_found(answer, NOWHERE)
