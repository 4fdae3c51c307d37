"""URIs that clients would follow with credentials of their own, or from a page that shows them:
refused as the location of an experiment's artifacts, in both APIs, and as the source of a model
version."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

LOCATIONS = ["/api/2.0/mlflow/experiments/create", "/api/v1/experiments"]
REGISTRY = "/api/2.0/mlflow"

HOSTS = ["http", "https", "ftp", "ftps", "sftp", "scp", "ssh"]
DISKS = ["file", "c", "Z"]
PAGES = ["data", "javascript", "vbscript", "blob"]
CLOUDS = ["s3", "gs", "wasbs", "abfss", "dbfs", "hdfs", "viewfs", "r2", "b2", "oci", "oss"]


def spellings(scheme: str) -> list[str]:
    return [
        f"{spelled}:{path}"
        for spelled in {scheme, scheme.upper(), scheme.title()}
        for path in ("//host/a", "//user:secret@host:22/a", "/a", "///a")
    ]


@pytest_asyncio.fixture
async def registry(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """With a registered model, `m`."""
    made = await client.post(f"{REGISTRY}/registered-models/create", json={"name": "m"})
    assert made.status_code == 200, made.text
    yield client


@pytest.mark.parametrize("scheme", [*HOSTS, *DISKS, *PAGES])
async def test_refused_by_both(registry: httpx.AsyncClient, scheme: str) -> None:
    for uri in spellings(scheme):
        for url in LOCATIONS:
            answer = await registry.post(url, json={"name": "x", "artifact_location": uri})
            assert answer.status_code in (400, 422), (url, uri, answer.text)
            assert "artifact_location" in answer.text
        answer = await registry.post(
            f"{REGISTRY}/model-versions/create", json={"name": "m", "source": uri}
        )
        assert answer.status_code == 400, (uri, answer.text)
        assert "source" in answer.text


@pytest.mark.parametrize("scheme", CLOUDS)
async def test_taken_by_both(registry: httpx.AsyncClient, scheme: str) -> None:
    uri = f"{scheme}://place/a"
    for number, url in enumerate(LOCATIONS):
        answer = await registry.post(url, json={"name": f"x{number}", "artifact_location": uri})
        assert answer.is_success, (url, answer.text)
    answer = await registry.post(
        f"{REGISTRY}/model-versions/create", json={"name": "m", "source": uri}
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("uri", ["runs:/0123456789abcdef0123456789abcdef/a", "models:/m/1"])
async def test_names_of_things_are_no_locations(client: httpx.AsyncClient, uri: str) -> None:
    for url in LOCATIONS:
        answer = await client.post(url, json={"name": "x", "artifact_location": uri})
        assert answer.status_code in (400, 422), (url, answer.text)
