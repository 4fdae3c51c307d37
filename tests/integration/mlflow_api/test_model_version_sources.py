"""Sources of model versions, with rules at least as strict as MLflow 3.17's server."""

import json

import httpx
import pytest

from tests.integration.mlflow_api.registry_calls import (
    API,
    IS_PROMPT,
    MODELS,
    VERSIONS,
    call,
    create_logged_model,
    create_model,
    create_run,
    create_version,
    get_model,
    no_model,
    no_version,
    not_found,
    ok,
    pair,
    refused,
)

ABSENT_RUN = "f" * 32
ABSENT_MODEL = "m-" + "0" * 32
OF_RUN = "The run_id request parameter must identify the resource that contains the source."
OF_MODEL = "The model_id request parameter must identify the resource that contains the source."
ABSOLUTE = (
    "If supplying a source as an http, https, local file path, ftp, objectstore, or"
    " mlflow-artifacts uri, an absolute path must be provided without relative path references"
    " present. Please provide an absolute path."
)
LOCAL = (
    "Local paths and file: URIs are refused; log the model to a run, and register it from there."
)


@pytest.fixture(autouse=True)
async def model(client: httpx.AsyncClient) -> None:
    await create_model(client)


async def create(client: httpx.AsyncClient, source: str, **fields: object) -> httpx.Response:
    return await call(client, "POST", f"{VERSIONS}/create", name="m", source=source, **fields)


async def download_uri(client: httpx.AsyncClient, version: str) -> str:
    answer = await ok(client, "GET", f"{VERSIONS}/get-download-uri", name="m", version=version)
    return answer["artifact_uri"]


def invalid(answer: httpx.Response, source: str, reason: str) -> None:
    refused(answer, f"Invalid model version source: '{source}'. {reason}")


class TestElsewhere:
    @pytest.mark.parametrize(
        "source",
        [
            "s3://bucket/a/b",
            "S3://bucket/a",
            "s3:/bucket/a",
            "gs://bucket/a b",
            "wasbs://container@account.blob.core.windows.net/a",
            "abfss://container@account.dfs.core.windows.net/a",
            "hdfs://host/a",
            "dbfs:/a/",
            "s3://bucket/a%20b",
            "s3://bucket/" + "x" * 600,
        ],
    )
    async def test_cloud_storage(self, client: httpx.AsyncClient, source: str) -> None:
        """Stored verbatim: clients access it with credentials of their own."""
        assert (await create_version(client, source=source))["source"] == source
        assert await download_uri(client, "1") == source

    @pytest.mark.parametrize(
        "source",
        [
            "/etc/passwd",
            "rel/path",
            "file:///etc/passwd",
            "file:/etc",
            "FILE:///etc",
            "file://localhost/etc",
            "file://remote/etc",
            "C:\\models",
            "dummy-source",
            "prompt-template",
        ],
    )
    async def test_local(self, client: httpx.AsyncClient, source: str) -> None:
        run_id, _ = await create_run(client)
        model_id, _ = await create_logged_model(client)
        invalid(await create(client, source), source, LOCAL)
        invalid(await create(client, source, run_id=run_id), source, LOCAL)
        invalid(await create(client, source, model_id=model_id), source, LOCAL)

    @pytest.mark.parametrize(
        "source",
        ["http://host/a", "https://127.0.0.1/a", "ftp://host/a", "SFTP://host/a",
         "mlflow-artifacts://host/a", "mlflow-artifacts://host:5000/a"],
    )  # fmt: skip
    async def test_hosts(self, client: httpx.AsyncClient, source: str) -> None:
        scheme = source.partition(":")[0].lower()
        refused(
            await create(client, source),
            f"'source' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host"
            " other than this server's artifact storage",
        )

    @pytest.mark.parametrize(
        "path",
        ["", "/", "/../a", "/a/../../b", "/a/..", "/./a", "/%2e%2e/a", "/%252e%252e/a", "/..%2fa",
         "/a%00", "/a#b", "/a%23b", "/a?b=1", "/a%3fb", "/a\\b", "/a%5c..%5cb", "/a\nb"],
    )  # fmt: skip
    @pytest.mark.parametrize("root", ["s3://bucket", "mlflow-artifacts:", "runs:"])
    async def test_traversal(self, client: httpx.AsyncClient, root: str, path: str) -> None:
        run_id, _ = await create_run(client)
        model_id, _ = await create_logged_model(client)
        for fields in ({}, {"run_id": run_id}, {"model_id": model_id}):
            invalid(await create(client, root + path, **fields), root + path, ABSOLUTE)

    @pytest.mark.parametrize("source", ["dbfs:a", "s3:a/b"])
    async def test_relative(self, client: httpx.AsyncClient, source: str) -> None:
        invalid(await create(client, source), source, ABSOLUTE)

    async def test_too_long(self, client: httpx.AsyncClient) -> None:
        refused(
            await create(client, "s3://bucket/" + "x" * 4096),
            "'source' exceeds the maximum length of 4096 characters",
        )


class TestRuns:
    async def test_artifacts(self, client: httpx.AsyncClient) -> None:
        run_id, root = await create_run(client)
        for source in (root, f"{root}/model", f"{root}//a/", f"{root}/a%20b"):
            version = await create_version(client, source=source, run_id=run_id)
            assert (version["source"], version["run_id"]) == (source, run_id)
            assert await download_uri(client, version["version"]) == source

    async def test_of_the_named_run_only(self, client: httpx.AsyncClient) -> None:
        run_id, root = await create_run(client)
        other_id, _ = await create_run(client)
        model_id, model_root = await create_logged_model(client, source_run_id=run_id)
        for source, fields in (
            (f"{root}/model", {}),
            (f"{root}/model", {"run_id": other_id}),
            (f"{root}/model", {"run_id": ABSENT_RUN}),
            (f"{root}/model", {"run_id": "no id"}),
            (f"{root}x/model", {"run_id": run_id}),
            (model_root, {"run_id": run_id}),
            ("mlflow-artifacts:/", {"run_id": run_id}),
        ):
            reason = ABSOLUTE if source.endswith(":/") else OF_RUN
            invalid(await create(client, source, **fields), source, reason)
        source = f"{root}/model"
        invalid(await create(client, source, run_id=run_id, model_id=model_id), source, OF_MODEL)

    async def test_elsewhere(self, client: httpx.AsyncClient) -> None:
        """The URI of a run's artifacts in cloud storage is a URI of that storage."""
        experiment = await ok(
            client, "POST", f"{API}/experiments/create",
            name="e", artifact_location="s3://bucket/e",
        )  # fmt: skip
        run = (await ok(client, "POST", f"{API}/runs/create", **experiment))["run"]["info"]
        source = run["artifact_uri"]
        assert source.startswith("s3://bucket/e/")
        await create_version(client, source=source, run_id=run["run_id"])
        invalid(
            await create(client, "mlflow-artifacts:/a", run_id=run["run_id"]),
            "mlflow-artifacts:/a",
            OF_RUN,
        )

    async def test_runs_uri(self, client: httpx.AsyncClient) -> None:
        run_id, _ = await create_run(client)
        model_id, _ = await create_logged_model(client, source_run_id=run_id)
        for source in (f"runs:/{run_id}/model", f"runs:/{run_id}"):
            assert (await create_version(client, source=source, run_id=run_id))["source"] == source
        source = f"runs:/{run_id}/model"
        invalid(await create(client, source), source, OF_RUN)
        invalid(await create(client, source, run_id=ABSENT_RUN), source, OF_RUN)
        invalid(await create(client, source, model_id=model_id), source, OF_MODEL)
        source = f"runs://host/{run_id}/model"
        invalid(await create(client, source, run_id=run_id), source, OF_RUN)


class TestLoggedModels:
    async def test_by_id(self, client: httpx.AsyncClient) -> None:
        model_id, root = await create_logged_model(client, source_run_id="a" * 32)
        version = await create_version(client, source=f"models:/{model_id}", model_id=model_id)
        assert version["run_id"] == "a" * 32
        assert await download_uri(client, "1") == root
        version = await create_version(
            client, source=f"models:/{model_id}", model_id=model_id, run_id="b"
        )
        assert version["run_id"] == "b"

    async def test_by_its_artifacts(self, client: httpx.AsyncClient) -> None:
        model_id, root = await create_logged_model(client)
        await create_version(client, source=f"{root}/sub", model_id=model_id)
        assert await download_uri(client, "1") == f"{root}/sub"

    async def test_is_told(self, client: httpx.AsyncClient) -> None:
        model_id, root = await create_logged_model(
            client, tags=[pair("mlflow.modelVersions", "no list")]
        )
        for source in (f"models:/{model_id}", root, "s3://bucket/a"):
            await create_version(client, source=source, model_id=model_id)
        info = (await ok(client, "GET", f"{API}/logged-models/{model_id}"))["model"]["info"]
        (tag,) = info["tags"]
        assert tag["key"] == "mlflow.modelVersions"
        assert json.loads(tag["value"]) == [{"name": "m", "version": n} for n in (1, 2, 3)]

    async def test_of_the_named_model_only(self, client: httpx.AsyncClient) -> None:
        model_id, root = await create_logged_model(client)
        other_id, _ = await create_logged_model(client)
        source = f"models:/{model_id}"
        invalid(await create(client, source), source, OF_MODEL)
        invalid(await create(client, source, model_id=other_id), source, OF_MODEL)
        invalid(await create(client, root), root, OF_RUN)
        invalid(await create(client, root, model_id=other_id), root, OF_MODEL)
        invalid(await create(client, root, model_id=ABSENT_MODEL), root, OF_MODEL)

    @pytest.mark.parametrize("source", ["models:/{id}", "s3://bucket/a"])
    async def test_absent(
        self, client: httpx.AsyncClient, other_client: httpx.AsyncClient, source: str
    ) -> None:
        theirs, _ = await create_logged_model(other_client)
        deleted, _ = await create_logged_model(client)
        await ok(client, "DELETE", f"{API}/logged-models/{deleted}")
        for model_id in (ABSENT_MODEL, theirs, deleted, "no-id"):
            answer = await create(client, source.format(id=model_id), model_id=model_id)
            not_found(answer, f"Logged model with ID '{model_id}' not found.")
        assert "latest_versions" not in await get_model(client)


class TestRegisteredModels:
    @pytest.fixture(autouse=True)
    async def original(self, client: httpx.AsyncClient) -> None:
        await create_model(client, "o")
        for n in (1, 2):
            await create_version(client, "o", f"s3://bucket/{n}", run_id=f"run{n}")
        await ok(client, "POST", f"{MODELS}/alias", name="o", alias="a", version="1")
        await ok(
            client, "POST", f"{VERSIONS}/transition-stage",
            name="o", version="1", stage="Staging",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("suffix", "version"),
        [("/1", "1"), ("@a", "1"), ("/staging", "1"), ("/latest", "2"), ("/None", "2")],
    )
    async def test_copy(self, client: httpx.AsyncClient, suffix: str, version: str) -> None:
        copy = await create_version(client, source=f"models:/o{suffix}")
        assert copy["source"] == f"models:/o/{version}"
        assert copy["run_id"] == f"run{version}"
        assert await download_uri(client, "1") == f"s3://bucket/{version}"

    async def test_copy_of_a_copy(self, client: httpx.AsyncClient) -> None:
        await create_version(client, source="models:/o/1")
        await create_version(client, source="models:/m/1")
        await ok(client, "DELETE", f"{MODELS}/delete", name="o")
        assert await download_uri(client, "2") == "s3://bucket/1"

    async def test_ids_must_match(self, client: httpx.AsyncClient) -> None:
        source = "models:/o/1"
        await create_version(client, source=source, run_id="run1", model_id="")
        reason = (
            "The run_id and model_id request parameters must match the referenced model version."
        )
        for fields in ({"run_id": "run2"}, {"run_id": ""}, {"model_id": ABSENT_MODEL}):
            invalid(await create(client, source, **fields), source, reason)

    async def test_absent(self, client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
        await create_model(other_client, "theirs")
        await create_version(other_client, "theirs")
        no_version(await create(client, "models:/o/9"), "o", "9")
        no_model(await create(client, "models:/nope/1"), "nope")
        no_model(await create(client, "models:/theirs/1"), "theirs")
        refused(await create(client, "models:/o@b"), "Registered model alias b not found.")
        not_found(
            await create(client, "models:/o/Production"),
            "No versions of model with name 'o' and stage 'Production' found",
        )
        not_found(
            await create(client, "models:/m/latest"), "No versions of model with name 'm' found"
        )
        refused(
            await create(client, "models:/o/bogus"),
            "Invalid Model Version stage: bogus. Value must be one of None, Staging, Production,"
            " Archived.",
        )

    @pytest.mark.parametrize("source", ["models:/", "models:a/1", "models:/a/b/c", "models:/o@"])
    async def test_malformed(self, client: httpx.AsyncClient, source: str) -> None:
        invalid(await create(client, source), source, OF_MODEL)

    async def test_other_registries(self, client: httpx.AsyncClient) -> None:
        invalid(
            await create(client, "models://host/o/1"),
            "models://host/o/1",
            "Registered model sources must use the active model registry.",
        )

    async def test_names_that_look_like_urls(self, client: httpx.AsyncClient) -> None:
        for name in ("a#b", "a?b", "a%2e", "a@b"):
            await create_model(client, name)
            await create_version(client, name, f"s3://bucket/{name[0]}")
            await create_version(client, source=f"models:/{name}/1")


class TestPrompts:
    @pytest.fixture(autouse=True)
    async def prompt(self, client: httpx.AsyncClient) -> None:
        await create_model(client, "p", tags=[IS_PROMPT])

    @pytest.mark.parametrize("source", ["dummy-source", "prompt-template"])
    async def test_placeholders(self, client: httpx.AsyncClient, source: str) -> None:
        version = await create_version(client, "p", source, tags=[IS_PROMPT])
        assert version["source"] == source

    @pytest.mark.parametrize("source", ["s3://bucket/a", "/etc/passwd", "models:/p/1"])
    async def test_nothing_else(self, client: httpx.AsyncClient, source: str) -> None:
        refused(
            await create(client, source, tags=[IS_PROMPT]),
            f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.",
        )

    async def test_are_no_source(self, client: httpx.AsyncClient) -> None:
        await create_version(client, "p", "dummy-source", tags=[IS_PROMPT])
        invalid(
            await create(client, "models:/p/1"),
            "models:/p/1",
            "Prompt versions cannot be used as model version sources.",
        )
