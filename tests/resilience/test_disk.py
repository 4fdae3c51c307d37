"""A small disk with everything on it, Postgres and artifacts: artifacts leave some of it alone, and
when something else fills it to the last byte, deleting works and the service recovers."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.db.embedded import running
from app.db.embedded.ballast import MAX_BYTES
from tests.conftest import running_server
from tests.resilience.load import load
from tests.resilience.test_embedded import until
from tests.resilience.test_store import PROXY, new_run

MIB = 1 << 20
DISK = 320 * MIB
BALLAST = min(MAX_BYTES, DISK // 10)
API = "/api/2.0/mlflow"
MULTIPART = "/api/2.0/mlflow-artifacts/mpu"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def environment(disk: Path) -> dict[str, str]:
    return {"TRACKING_DATA_DIR": str(disk / "data"), "TRACKING_DATABASE_URL": ""}


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(path: Path) -> None:
    """A file with all the bytes that there were."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def need_room(data_dir: Path) -> None:
    """Make Postgres begin new files of its log, until it ends for want of room."""
    server = running(data_dir)
    if server is None:  # What is logged meanwhile ended it already.
        return
    superuser = server.owner_url.replace("//tracking_owner@", "//postgres@")
    with suppress(psycopg.OperationalError), psycopg.connect(superuser, autocommit=True) as it:
        for _ in range(DISK // (16 * MIB)):
            it.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")


def is_whole(ballast: Path) -> bool:
    return ballast.exists() and ballast.stat().st_size == BALLAST


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    """A body of that size without a Content-Length."""
    for _ in range(size // MIB):
        yield bytes(MIB)


async def patiently(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> int:
    """The status that is not 503, which says to try again."""
    async with asyncio.timeout(90):
        while True:
            answer = await client.request(method, path, **more)
            if answer.status_code != 503:
                return answer.status_code
            assert answer.headers["retry-after"]
            await asyncio.sleep(0.2)


async def test_artifacts_leave_the_reserve(
    environment: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    """A tenth of this disk, unless it is said. Every kind of upload is refused, in the shape of
    each API, before its bytes are sent where their number is known."""
    reserve = DISK // 10
    with running_server(environment, tmp_path / "log") as (url, process):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            root = await new_run(client)
            run = root.split("/")[3]
            mine = f"/api/v1/experiments/runs/{run}"
            create = await client.post(
                f"{MULTIPART}/create/{root}", json={"path": "whole", "num_parts": 2}
            )
            upload = create.json()
            parts = []
            for credential in upload["credentials"]:
                sent = await client.put(credential["url"], content=bytes(8 * MIB))
                parts.append(
                    {"part_number": credential["part_number"], "etag": sent.headers["etag"]}
                )
            stored = 0
            while True:
                answer = await client.put(f"{PROXY}/{root}/{stored}", content=bytes(5 * MIB))
                if answer.status_code != 200:
                    break
                stored += 1
            assert stored >= 5
            assert answer.status_code == 507
            assert answer.json()["error_code"] == "RESOURCE_EXHAUSTED"
            assert "no room for" in answer.json()["message"]
            assert "retry-after" not in answer.headers

            assert reserve <= free(disk) < reserve + 6 * MIB
            refused = [
                # More than is left, of a length that is told, or not.
                await client.put(f"{PROXY}/{root}/large", content=bytes(40 * MIB)),
                await client.put(f"{PROXY}/{root}/chunked", content=in_chunks(40 * MIB)),
                await client.put(upload["credentials"][0]["url"], content=bytes(40 * MIB)),
                await client.post(
                    f"{MULTIPART}/complete/{root}",
                    json={"path": "whole", "upload_id": upload["upload_id"], "parts": parts},
                ),
                await client.post(
                    f"{mine}/artifacts", files={"file": ("form", bytes(40 * MIB), "text/plain")}
                ),
            ]
            copies = [
                await client.post(
                    f"{mine}/artifacts/copy", json={"source_path": str(number), "path": "copies"}
                )
                for number in range(2)
            ]
            assert [one.status_code for one in refused] == [507] * 5
            problem = refused[-1]
            assert problem.headers["content-type"] == "application/problem+json"
            assert problem.json()["type"] == "urn:tracking:insufficient-storage"
            assert copies[-1].status_code == 507
            assert free(disk) >= reserve
            uploads = disk / "data" / "artifacts" / ".uploads"
            left = [path for path in uploads.rglob("*") if path.is_file()]
            assert sum(path.stat().st_size for path in left) < 17 * MIB  # the parts, and no more

            # The rest goes on, and what is deleted makes room.
            assert (await client.post(f"{API}/runs/create", json={})).status_code == 200
            assert (await client.get(f"{PROXY}/{root}/0")).content == bytes(5 * MIB)
            for number in range(4):
                gone = await client.delete(f"{PROXY}/{root}/{number}")
                assert gone.is_success
            again = await client.post(
                f"{MULTIPART}/complete/{root}",
                json={"path": "whole", "upload_id": upload["upload_id"], "parts": parts},
            )
            assert again.status_code == 200
            whole = await client.get(f"{PROXY}/{root}/whole")
            assert whole.content == bytes(16 * MIB)
        assert process.poll() is None


async def test_refused_before_it_is_sent(environment: dict[str, str], tmp_path: Path) -> None:
    with running_server(environment, tmp_path / "log") as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            root = await new_run(client)
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"PUT {PROXY}/{root}/large HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {10 * DISK}\r\n\r\n".encode()
        )
        async with asyncio.timeout(60):
            assert b" 507 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_filled_to_the_last_byte(
    environment: dict[str, str], disk: Path, tmp_path: Path, workers: str
) -> None:
    """By something else. What is deleted is deleted, what is logged is logged or refused, and when
    there is room again all goes on, with everything that was acknowledged."""
    log = tmp_path / "log"
    environment |= {"TRACKING_WORKERS": workers}
    ballast = disk / "data" / "ballast"
    with running_server(environment, log) as (url, process):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            root = await new_run(client)
            for number in range(6):
                put = await client.put(f"{PROXY}/{root}/{number}", content=bytes(MIB))
                assert put.status_code == 200
            await asyncio.to_thread(until, lambda: is_whole(ballast))
            async with load(url) as it:
                await it.more(60, within=60)
                await asyncio.to_thread(fill, disk / "filler")
                refused = await client.put(f"{PROXY}/{root}/more", content=b"x")
                assert refused.status_code == 507
                assert await patiently(client, "GET", f"{PROXY}/{root}/5") == 200
                for number in range(5):
                    gone = await patiently(client, "DELETE", f"{PROXY}/{root}/{number}")
                    assert gone == 200
                # Once more, with no ballast left: Postgres ends, and is started in vain.
                await asyncio.to_thread(fill, disk / "another")
                await asyncio.to_thread(need_room, disk / "data")
                await it.refusals(10, within=60)
                assert process.poll() is None
                (disk / "filler").unlink()
                (disk / "another").unlink()
                await it.more(60, within=90)
            assert await patiently(client, "POST", f"{API}/runs/create", json={}) == 200
            await it.check()
            assert (await client.put(f"{PROXY}/{root}/more", content=b"x")).status_code == 200
            assert (await client.get(f"{PROXY}/{root}/5")).content == bytes(MIB)
            await asyncio.to_thread(until, lambda: is_whole(ballast))
        assert process.poll() is None
    assert "the disk is full" in log.read_text()
    print(f"faults injected: the disk filled twice; answers: {dict(it.answers)}")
