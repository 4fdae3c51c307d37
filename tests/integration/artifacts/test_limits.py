"""Limits of transfers: declared checksums, concurrent transfers, stalled clients; and that a
running transfer holds no connection to the database."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect

from app.api.file_response import ReaderResponse
from app.artifacts import transfer_limits
from app.artifacts.service import Artifacts
from app.config import Settings
from app.kernel.errors import UnavailableError
from app.kernel.tenant import Tenant
from app.main import create_app
from app.services import Services
from tests.conftest import AppClient, client_of, new_slug
from tests.integration.artifacts.indexed import run_folder

FILES = "api/2.0/mlflow-artifacts/artifacts"
BODY = b"what the client sends"


@dataclass
class Service:
    services: Services
    tenant: Tenant
    client: AppClient
    folder: str

    async def put(self, name: str, body: bytes | AsyncIterator[bytes]) -> httpx.Response:
        return await self.client.put(f"{FILES}/{self.folder}/{name}", content=body)

    async def get(self, name: str, **headers: str) -> httpx.Response:
        return await self.client.get(f"{FILES}/{self.folder}/{name}", headers=headers)


@asynccontextmanager
async def serving(settings: Settings, data_dir: Path, **changes: object) -> AsyncIterator[Service]:
    app = create_app(settings.model_copy(update={"data_dir": data_dir, **changes}))
    async with app.router.lifespan_context(app):
        services = app.state.services
        tenant = await services.tenant_lookup.resolve(new_slug(), create=True)
        run = await services.runs.create(tenant, "0")
        async with client_of(app, tenant) as client:
            yield Service(services, tenant, client, run_folder(run))


class Held:
    """A body that stalls until the test releases it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"first"
        self.begun.set()
        await self.let_go.wait()
        yield b"last"


def encoded(algorithm: str, body: bytes = BODY) -> str:
    return base64.b64encode(hashlib.new(algorithm, body).digest()).decode()


class TestChecksums:
    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("Content-MD5", lambda body: encoded("md5", body)),
            ("x-amz-checksum-sha256", lambda body: encoded("sha256", body)),
            ("Content-Digest", lambda body: f"sha-256=:{encoded('sha256', body)}:"),
            ("Repr-Digest", lambda body: f"sha-512=:{encoded('sha512', body)}:"),
            (
                "Repr-Digest",
                lambda body: f"unixsum=:AAA=:, sha-256=:{encoded('sha256', body)}:",
            ),
        ],
    )
    async def test_declared(
        self, settings: Settings, tmp_path: Path, header: str, value: Callable[[bytes], str]
    ) -> None:
        async with serving(settings, tmp_path) as service:
            url = f"{FILES}/{service.folder}/a"
            good = await service.client.put(url, content=BODY, headers={header: value(BODY)})
            assert good.status_code == 200, good.text
            bad = await service.client.put(url, content=BODY[::-1], headers={header: value(BODY)})
            assert bad.status_code == 400
            assert header in bad.json()["message"]
            assert (await service.get("a")).content == BODY
            store = service.services.artifacts.store
            assert [one async for one in store.unfinished(service.tenant.slug)] == []

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("Content-MD5", "x"),
            ("Content-MD5", encoded("sha256")),
            ("x-amz-checksum-sha256", ""),
            ("Content-Digest", encoded("sha256")),
            ("Content-Digest", f"sha-256=:{encoded('md5')}:"),
            ("Repr-Digest", "sha-256"),
        ],
    )
    async def test_malformed(
        self, settings: Settings, tmp_path: Path, header: str, value: str
    ) -> None:
        async with serving(settings, tmp_path) as service:
            url = f"{FILES}/{service.folder}/a"
            answer = await service.client.put(url, content=BODY, headers={header: value})
            assert answer.status_code == 400
            assert answer.json()["message"].startswith(f"The header {header} ")
            assert (await service.get("a")).status_code == 404

    async def test_recorded(self, settings: Settings, tmp_path: Path) -> None:
        async with serving(settings, tmp_path) as service:
            await service.put("a", BODY)
            artifact = await service.services.artifacts.get(service.tenant, f"{service.folder}/a")
            assert artifact.sha256 == hashlib.sha256(BODY).hexdigest()


class TestAtOnce:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfer_limits, "WAIT_SECONDS", 0.05)

    async def test_more_of_a_tenant_are_told_to_wait(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        async with serving(settings, tmp_path, tenant_transfers=1) as service:
            assert (await service.put("there", BODY)).status_code == 200
            held = Held()
            sending = asyncio.create_task(service.put("held", aiter(held)))
            await held.begun.wait()
            for refused in (await service.put("b", BODY), await service.get("there")):
                assert refused.status_code == 503
                assert refused.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
                assert refused.headers["retry-after"] == "1"
            other = await service.services.tenant_lookup.resolve(new_slug(), create=True)
            run = await service.services.runs.create(other, "0")
            url = f"/t/{other.slug}/{FILES}/{run_folder(run)}/a"
            assert (await service.client.put(f"http://test{url}", content=BODY)).status_code == 200
            held.let_go.set()
            assert (await sending).status_code == 200
            assert (await service.get("held")).content == b"firstlast"

    async def test_one_more_waits_its_turn(self, settings: Settings, tmp_path: Path) -> None:
        async with serving(settings, tmp_path, tenant_transfers=1) as service:
            transfer_limits.WAIT_SECONDS = 30
            held = Held()
            first = asyncio.create_task(service.put("a", aiter(held)))
            await held.begun.wait()
            second = asyncio.create_task(service.put("b", BODY))
            held.let_go.set()
            assert [one.status_code for one in await asyncio.gather(first, second)] == [200, 200]

    async def test_every_slot_comes_back(self, settings: Settings, tmp_path: Path) -> None:
        async with serving(settings, tmp_path, tenant_transfers=1) as service:

            async def broken() -> AsyncIterator[bytes]:
                yield b"x"
                raise ClientDisconnect

            async def attempts() -> None:
                await service.put("a", BODY)
                await service.get("a", Range="bytes=1-2")
                await service.get("a", Range="bytes=100-")
                await service.get("none")
                await service.client.head(f"{FILES}/{service.folder}/a")
                await service.client.put(
                    f"{FILES}/{service.folder}/a", content=b"x", headers={"content-length": "2"}
                )
                assert (await service.put("b", broken())).status_code == 499
                artifacts = service.services.artifacts
                found = await artifacts.get(service.tenant, f"{service.folder}/a")
                unread = await artifacts.open(service.tenant, found)
                with pytest.raises(UnavailableError):
                    await artifacts.open(service.tenant, found)
                await unread.aclose()
                await unread.aclose()

            for _ in range(3):
                await attempts()
            assert (await service.put("a", BODY)).status_code == 200


class TestStalled:
    async def test_upload_is_cut_off(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transfer_limits, "IDLE_SECONDS", 0.1)
        async with serving(settings, tmp_path) as service:
            answer = await service.put("a", aiter(Held()))
            assert answer.status_code == 408
            assert answer.headers["connection"] == "close"
            assert "0.1 seconds" in answer.json()["message"]
            store = service.services.artifacts.store
            assert [one async for one in store.unfinished(service.tenant.slug)] == []
            assert (await service.get("a")).status_code == 404

    async def test_a_slow_one_is_not(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The transfer takes longer than a client may stall."""
        monkeypatch.setattr(transfer_limits, "IDLE_SECONDS", 0.5)

        async def slow() -> AsyncIterator[bytes]:
            for _ in range(20):
                await asyncio.sleep(0.05)
                yield b"x"

        async with serving(settings, tmp_path) as service:
            assert (await service.put("a", slow())).status_code == 200

    async def test_download_is_cut_off(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transfer_limits, "IDLE_SECONDS", 0.1)
        async with serving(settings, tmp_path, tenant_transfers=1) as service:
            await service.put("a", bytes(5 << 20))
            artifacts = service.services.artifacts
            found = await artifacts.get(service.tenant, f"{service.folder}/a")
            answer = ReaderResponse(await artifacts.open(service.tenant, found), 200, {})
            taken = []

            async def send(message: Any) -> None:
                taken.append(message)
                if len(taken) == 3:
                    await asyncio.Event().wait()

            async def receive() -> Any:
                await asyncio.Event().wait()

            scope = {"type": "http", "method": "GET", "path": "/a"}
            await asyncio.wait_for(answer(scope, receive, send), 30)
            assert len(taken) == 3
            assert (await service.get("a")).status_code == 200  # its slot came back


class TestConnections:
    async def test_transfers_hold_none(self, settings: Settings, tmp_path: Path) -> None:
        """With a pool of one connection, 16 uploads and 16 downloads stall, and other requests are
        served."""
        async with serving(settings, tmp_path, database_pool_size=1) as service:
            assert (await service.put("there", BODY)).status_code == 200
            artifacts: Artifacts = service.services.artifacts
            found = await artifacts.get(service.tenant, f"{service.folder}/there")
            bodies = [Held() for _ in range(16)]
            sending = [
                asyncio.create_task(service.put(f"a{n}", aiter(body)))
                for n, body in enumerate(bodies)
            ]
            readers = [await artifacts.open(service.tenant, found) for _ in range(16)]
            for body in bodies:
                await body.begun.wait()
            listed = await service.client.get(FILES, params={"path": service.folder})
            assert [file["path"] for file in listed.json()["files"]] == ["there"]
            for body in bodies:
                body.let_go.set()
            for reader in readers:
                await reader.aclose()
            assert {one.status_code for one in await asyncio.gather(*sending)} == {200}
