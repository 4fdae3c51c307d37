"""The artifact store breaks during uploads: clients are told to try again, and no artifact is seen
that is not whole."""

import asyncio
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, free_port, running_server
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
UPLOADERS = 4
SIZE = 300_000


class KillableS3:
    """moto on one port. It keeps all in memory: killed, it comes back empty, and only what was
    uploaded since can be asked for."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        for _ in range(400):
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/moto-api/")
                return
            except httpx.TransportError:
                assert self._process.poll() is None
                time.sleep(0.05)
        raise RuntimeError("moto did not start")

    def pause(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)  # it takes connections and does not answer

    def is_asked(self) -> bool:
        """Whether a request waits for it in the kernel."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, _, _, queues, *_ = line.split()
            if int(local[-4:], 16) == self.port and int(queues.partition(":")[2], 16):
                return True
        return False

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Uploads:
    """Clients that upload numbered files to one run, each until it is acknowledged."""

    def __init__(self, url: str, root: str) -> None:
        self.url, self.root = url, root
        self.acknowledged: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.unclean: list[str] = []
        self.stopping = False

    async def run(self, client: httpx.AsyncClient, uploader: int) -> None:
        number = 0
        while not self.stopping:
            name = f"{uploader}-{number}"
            if await self.put(client, name):
                self.acknowledged.add(name)
                number += 1

    async def put(self, client: httpx.AsyncClient, name: str) -> bool:
        try:
            answer = await client.put(f"{PROXY}/{self.root}/{name}", content=content(name))
        except httpx.TimeoutException:
            self.unclean.append(f"{name} hangs")
            return False
        except httpx.TransportError:
            self.answers["cut off"] += 1
            return False
        self.answers[str(answer.status_code)] += 1
        if answer.status_code == 503 and "retry-after" in answer.headers:
            await asyncio.sleep(0.05)
        elif answer.status_code not in (200, 507):
            self.unclean.append(f"{answer.status_code} {answer.text}")
        return answer.status_code == 200

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                assert not self.unclean, self.unclean[:3]
                await asyncio.sleep(0.02)

    async def check(self, client: httpx.AsyncClient, names: set[str]) -> int:
        """How many of those are not there; whatever is listed must be whole."""
        lost = 0
        for name in names:
            answer = await client.get(f"{PROXY}/{self.root}/{name}")
            if answer.status_code == 200:
                assert answer.content == content(name)
            else:
                lost += 1
        return lost

    async def listed(self, client: httpx.AsyncClient) -> set[str]:
        folder = self.root
        answer = await client.get(PROXY, params={"path": folder})
        return {one["path"] for one in answer.json().get("files", [])}


def content(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest() * (SIZE // 32)


async def new_run(client: httpx.AsyncClient) -> str:
    created = (await client.post(f"{API}/runs/create", json={})).json()["run"]["info"]
    uri: str = created["artifact_uri"]
    return uri.removeprefix("mlflow-artifacts:/")


@pytest.fixture
def s3() -> Iterator[KillableS3]:
    it = KillableS3()
    it.start()
    yield it
    it.kill()


async def test_s3_gone_during_uploads_and_back(
    s3: KillableS3, environment: dict[str, str], tmp_path: Path
) -> None:
    environment = environment | {
        "TRACKING_MINIO_ENDPOINT": f"127.0.0.1:{s3.port}",
        "TRACKING_MINIO_ACCESS_KEY": ACCESS_KEY,
        "TRACKING_MINIO_SECRET_KEY": SECRET_KEY,
    }
    with running_server(environment, tmp_path / "log") as (url, process):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            it = Uploads(url, await new_run(client))
            tasks = [asyncio.create_task(it.run(client, number)) for number in range(UPLOADERS)]
            await it.until(lambda: len(it.acknowledged) >= 20)
            s3.kill()
            await it.until(lambda: it.answers["503"] >= 8)
            # What does not need the store goes on.
            assert (await client.post(f"{API}/runs/create", json={})).status_code == 200
            lost_with_it = set(it.acknowledged)
            gone = await client.get(f"{PROXY}/{it.root}/{min(lost_with_it)}")
            assert gone.status_code == 503
            assert "retry-after" in gone.headers
            await asyncio.to_thread(s3.start)
            goal = len(it.acknowledged) + 20
            await it.until(lambda: len(it.acknowledged) >= goal)
            s3.pause()
            await it.until(s3.is_asked)
            s3.resume()
            goal = len(it.acknowledged) + 20
            await it.until(lambda: len(it.acknowledged) >= goal)
            it.stopping = True
            await asyncio.gather(*tasks)
            assert not it.unclean, it.unclean[:3]
            kept = it.acknowledged - lost_with_it
            lost = await it.check(client, kept)
            # In the listing stands what was acknowledged, and nothing else.
            assert await it.listed(client) == it.acknowledged
        assert process.poll() is None
    print(
        f"faults injected: S3 killed once, stopped once; acknowledged uploads: {len(kept)},"
        f" lost: {lost}; answers: {dict(it.answers)}"
    )
    assert lost == 0


LIMIT = 100_000


@pytest.fixture
def small_disk(environment: dict[str, str]) -> Iterator[bool]:
    """Whether the data folder is a file system of 3 MB, where we may mount one."""
    data = Path(environment["TRACKING_DATA_DIR"])
    data.mkdir()
    small = False
    if os.geteuid() == 0 and shutil.which("mount"):
        command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", data]
        small = subprocess.run(command, capture_output=True).returncode == 0
    yield small
    if small:
        subprocess.run(["umount", data], check=True)


async def test_disk_full_on_the_local_store(
    environment: dict[str, str], small_disk: bool, tmp_path: Path
) -> None:
    """Without such a file system, by a limit on a file's size, which the same writes run into."""
    with running_server(environment, tmp_path / "log") as (url, process):
        if not small_disk:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            it = Uploads(url, await new_run(client))
            for number in range(20):
                if await it.put(client, f"full-{number}"):
                    it.acknowledged.add(f"full-{number}")
            assert not it.unclean
            assert it.answers["507"] >= 5
            # The rest of the service goes on, and reads go on.
            assert (await client.post(f"{API}/runs/create", json={})).status_code == 200
            assert await it.listed(client) == it.acknowledged
            assert await it.check(client, it.acknowledged) == 0
            # Nothing half-written takes up what little there is.
            stored = files_in(Path(environment["TRACKING_DATA_DIR"]))
            assert [path for path in stored if ".uploads" in path.parts] == []
            if small_disk:
                assert it.answers["200"] >= 5
                gone = it.acknowledged.pop()
                assert (await client.delete(f"{PROXY}/{it.root}/{gone}")).is_success
            else:
                unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
            assert await it.put(client, "again")
            it.acknowledged.add("again")
            lost = await it.check(client, it.acknowledged)
        assert process.poll() is None
    print(
        f"faults injected: {it.answers['507']} uploads to a full disk"
        f" ({'a file system of 3 MB' if small_disk else 'a limit on the size of files'});"
        f" acknowledged uploads: {len(it.acknowledged)}, lost: {lost}"
    )
    assert lost == 0


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
