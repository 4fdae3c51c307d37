"""A ZIP download is one transfer of its tenant: it takes a slot before it begins, and is ended
where its client stalls."""

import asyncio
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.artifacts import transfer_limits
from app.config import Settings
from tests.conftest import running_server
from tests.integration.artifacts.test_limits import Held, Service, serving

SIZE = 3 << 20


def url(service: Service) -> str:
    run_id = service.folder.split("/")[3]
    return f"api/v1/experiments/runs/{run_id}/artifacts/"


async def archive(service: Service) -> httpx.Response:
    return await service.client.get(url(service), params={"archive": "zip"})


async def fill(service: Service) -> None:
    for name in ("a", "b", "c"):
        assert (await service.put(name, os.urandom(SIZE))).status_code == 200


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_limits, "WAIT_SECONDS", 0.05)


@pytest.mark.usefixtures("_impatient")
class TestItsPlace:
    async def test_without_one_it_does_not_begin(self, settings: Settings, tmp_path: Path) -> None:
        async with serving(settings, tmp_path, tenant_transfers=1) as service:
            await fill(service)
            held = Held()
            sending = asyncio.create_task(service.put("held", aiter(held)))
            await held.begun.wait()
            refused = await archive(service)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["type"] == "urn:tracking:unavailable"
            held.let_go.set()
            assert (await sending).status_code == 200
            for _ in range(3):
                assert names(await archive(service)) == ["a", "b", "c", "held"]

    async def test_it_keeps_the_one_it_has(self, settings: Settings, tmp_path: Path) -> None:
        """A waiting transfer does not get the ZIP download's slot between two files."""
        transfer_limits.WAIT_SECONDS = 2.0
        async with serving(settings, tmp_path, tenant_transfers=1) as service:
            await fill(service)
            held = Held()
            waiting: list[asyncio.Task[httpx.Response]] = []
            opened = service.services.artifacts.store.open

            async def open_beside_another(*args: Any, **more: Any) -> Any:
                if not waiting:
                    waiting.append(asyncio.create_task(service.put("held", aiter(held))))
                    await asyncio.sleep(0)
                return await opened(*args, **more)

            service.services.artifacts.store.open = open_beside_another  # type: ignore[method-assign]
            assert names(await archive(service)) == ["a", "b", "c"]
            held.let_go.set()
            assert (await waiting[0]).status_code in (200, 503)

    async def test_it_comes_back(self, settings: Settings, tmp_path: Path) -> None:
        async with serving(settings, tmp_path, tenant_transfers=1) as service:
            await fill(service)
            assert (await service.client.head(url(service) + "?archive=zip")).status_code == 200
            none = await service.client.get(url(service) + "none?archive=zip")
            assert none.status_code == 404
            assert (await service.get("a")).status_code == 200


async def test_a_reader_that_takes_nothing_is_cut_off(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_limits, "IDLE_SECONDS", 0.1)
    async with serving(settings, tmp_path, tenant_transfers=1) as service:
        await fill(service)
        taken: list[Any] = []

        async def send(message: Any) -> None:
            taken.append(message)
            if len(taken) == 3:
                await asyncio.Event().wait()

        received = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            return next(received, None) or await asyncio.Event().wait()

        path = f"/t/{service.tenant.slug}/{url(service)}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"archive=zip",
            "root_path": "",
            "headers": [(b"host", b"test")],
            "server": ("test", 80),
            "client": ("test", 1),
        }
        app = service.client.app
        await asyncio.wait_for(app(scope, receive, send), 30)
        assert len(taken) == 3
        assert (await service.get("a")).status_code == 200  # its place is free again


async def test_a_file_that_fails_midway_cuts_the_connection(
    settings: Settings, tmp_path: Path
) -> None:
    """With a server process: the client detects that the download is incomplete."""
    environment = {
        "TRACKING_DATABASE_URL": settings.database_url or "",
        "TRACKING_DATA_DIR": str(tmp_path),
    }
    with running_server(environment, tmp_path / "log") as (root, _):
        async with httpx.AsyncClient(base_url=root) as client:
            made = await client.post("/api/v1/experiments/runs", json={"experiment_id": "0"})
            artifacts = f"/api/v1/experiments/runs/{made.json()['id']}/artifacts"
            for name in ("a", "b", "c"):
                answer = await client.post(artifacts, files={"file": (name, os.urandom(SIZE))})
                assert answer.status_code == 200, answer.text
            (lost,) = (tmp_path / "artifacts").rglob("b")
            lost.unlink()
            received = b""
            with pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
                async with client.stream("GET", f"{artifacts}/?archive=zip") as answer:
                    assert answer.status_code == 200
                    async for chunk in answer.aiter_raw():
                        received += chunk
            assert len(received) > SIZE // 2
            assert received[:4] == b"PK\x03\x04"
            assert (await client.get(f"{artifacts}/c")).status_code == 200
