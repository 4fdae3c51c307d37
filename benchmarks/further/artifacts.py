"""Artifacts through the proxy: large files, many small files, and listing 100,000 files."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio

from benchmarks import servers, transfers
from benchmarks.further.bench import Bench, timed
from benchmarks.measure import Goal, Result
from benchmarks.servers import OURS, Server
from benchmarks.transfers import NotServedError
from tests.support.s3_server import S3Server, s3_server

MIB = 1 << 20
LARGE = 1024 * MIB
ON_S3 = 256 * MIB  # smaller, because the tests' S3 server is slow
SMALL_FILES = 10_000
SMALL_BYTES = 1024
CLIENTS = 16
LISTED = 100_000
PAGE = 100
LISTINGS = 10

PLAIN = Goal("file copy", 0.6)
PLAIN_S3 = Goal("minio-py", 0.6)
MEMORY = Goal(None, 50)


def _run(server: Server, experiment: str) -> str:
    """Creates a run; returns its artifact URI."""
    run = server.post("runs/create", {"experiment_id": experiment})
    return str(run["run"]["info"]["artifact_uri"])


class _Rows:
    """Results of one server: upload and download in MB/s, and peak memory."""

    def __init__(self, what: str, server: str, goal: Goal | None = None) -> None:
        goals = (goal,) if goal else ()
        self.up = Result(f"upload of {what}", server, "MB/s", goals=goals)
        self.down = Result(f"download of {what}", server, "MB/s", goals=goals)
        self.memory = Result(f"memory for {what}", server, "MB", goals=(MEMORY,))

    def round(self, size: int, upload: Callable[[], float], download: Callable[[], float]) -> None:
        self.up.figures.append(size / 1e6 / upload())
        self.down.figures.append(size / 1e6 / download())


def large(bench: Bench) -> list[Result]:
    """Alternates the servers and a plain copy, so that all have the same disk and caches."""
    source, target = bench.folder / "large", bench.folder / "received"
    _fill(source, LARGE)
    plain = _Rows("1 GiB", "file copy")
    rows: dict[str, tuple[_Rows, Server, str]] = {}
    for seeds in bench.servers:
        goal = PLAIN if seeds.server.kind == OURS else None
        row = _Rows("1 GiB", seeds.server.name, goal)
        try:
            rows[seeds.server.name] = (
                row,
                seeds.server,
                transfers.proxy_path(seeds.server, _run(seeds.server, seeds.logged), "large"),
            )
        except NotServedError as error:
            row.up.problems.append(str(error))
            rows[seeds.server.name] = (row, seeds.server, "")
    for _ in range(bench.rounds):
        plain.round(
            LARGE,
            lambda: transfers.copy(source, target, sync=True),
            lambda: transfers.copy(source, target, sync=False),
        )
        for row, server, path in rows.values():
            if path and not row.up.problems:
                _transfer(row, server, path, source, target)
    source.unlink()
    target.unlink()
    found = [plain, *(row for row, _, _ in rows.values())]
    return [
        *(row.up for row in found),
        *(row.down for row in found),
        *(row.memory for row in found[1:]),
    ]


def _transfer(row: _Rows, server: Server, path: str, source: Path, target: Path) -> None:
    try:
        with transfers.peak_memory(server) as memory:
            row.round(
                source.stat().st_size,
                lambda: transfers.upload(server, path, source),
                lambda: transfers.download(server, path, target),
            )
    except (NotServedError, OSError) as error:
        row.up.problems.append(str(error))
        return
    row.memory.figures += memory
    if target.stat().st_size != source.stat().st_size or _differ(source, target):
        row.down.problems.append("the downloaded file differs from the uploaded one")
    transfers.delete(server, path)


def _fill(file: Path, size: int) -> None:
    with file.open("wb") as target:
        for _ in range(size // MIB):
            target.write(os.urandom(MIB))


def _differ(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(MIB):
            if chunk != right.read(MIB):
                return True
    return False


def on_s3(bench: Bench) -> list[Result]:
    source, target = bench.folder / "large", bench.folder / "received"
    _fill(source, ON_S3)
    ours = _Rows("256 MiB on S3", OURS, PLAIN_S3)
    plain = _Rows("256 MiB on S3", "minio-py")
    with s3_server() as s3, _ours_on(bench, s3) as server:
        # This server uses the database of the server that is compared with the peers.
        path = transfers.proxy_path(server, _run(server, bench.ours.logged), "large")
        client = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
        client.make_bucket("plain")
        for _ in range(bench.rounds):
            plain.round(
                ON_S3,
                _seconds(lambda: client.fput_object("plain", "large", str(source))),
                _seconds(lambda: client.fget_object("plain", "large", str(target))),
            )
            client.remove_object("plain", "large")
            _transfer(ours, server, path, source, target)
    source.unlink()
    target.unlink()
    return [plain.up, ours.up, plain.down, ours.down, ours.memory]


def _seconds(call: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return seconds


@contextmanager
def _ours_on(bench: Bench, s3: S3Server) -> Iterator[Server]:
    """Starts another server of ours, with its artifacts on S3."""
    environment = {
        "TRACKING_MINIO_ENDPOINT": s3.endpoint,
        "TRACKING_MINIO_ACCESS_KEY": s3.access_key,
        "TRACKING_MINIO_SECRET_KEY": s3.secret_key,
    }
    postgres = bench.ours.server.postgres
    with servers.ours(postgres, bench.folder, name="ours-s3", settings=environment) as server:
        yield server


def small(bench: Bench) -> list[Result]:
    """Measures our service also with two workers, the number that MLflow uses."""
    results = [_small_files(seeds.server, seeds.logged) for seeds in bench.servers]
    name = f"{OURS}, 2 workers"
    with servers.ours(bench.ours.server.postgres, bench.folder, workers=2, name=name) as server:
        results.insert(1, _small_files(server, bench.ours.logged))
    return results


def _small_files(server: Server, experiment: str) -> Result:
    """Each client has its own connection, and sends a share of the files."""
    result = Result("10,000 files of 1 KiB by 16 clients", server.name, "files/s")
    body, local, refused = os.urandom(SMALL_BYTES), threading.local(), []

    def send(path: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = HTTPConnection(urlsplit(server.url).netloc, timeout=120)
        local.connection.request("PUT", path, body=body)
        answer = local.connection.getresponse()
        answer.read()
        if answer.status != 200:
            refused.append(answer.status)

    try:
        root = transfers.proxy_path(server, _run(server, experiment))
    except NotServedError as error:
        result.problems.append(str(error))
        return result
    paths = [f"{root}/{number % 100}/{number}.bin" for number in range(SMALL_FILES)]
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(send, paths))
    result.figures.append(SMALL_FILES / (time.perf_counter() - started))
    result.errors = len(refused)
    if refused:
        result.problems.append(f"{len(refused)} uploads were refused, with {sorted(set(refused))}")
    return result


def listing(bench: Bench) -> list[Result]:
    """Lists a page with our server, and the whole folder, which is all that MLflow can list."""
    results = []
    for seeds in bench.servers:
        uri = _run(seeds.server, seeds.logged)
        run_id = uri.rstrip("/").split("/")[-2]
        server = seeds.server
        if server.kind == OURS:
            _insert_files(server, urlsplit(uri).path.strip("/"))
            page = f"{server.prefix}/api/v1/experiments/runs/{run_id}/artifacts"
            query = {"path": "many", "limit": str(PAGE)}
            calls = [_listed(server, page, query, PAGE)] * LISTINGS
            results.append(timed("a page of 100 of 100,000 files", server.name, calls))
        elif server.kind == "mlflow":
            _create_files(bench.folder / server.name / "mlartifacts", urlsplit(uri).path.strip("/"))
        else:
            continue
        whole = _listed(
            server, server.path("artifacts/list"), {"run_id": run_id, "path": "many"}, LISTED
        )
        results.append(timed("all of 100,000 files", server.name, [whole] * 3))
    return results


def _listed(
    server: Server, path: str, query: dict[str, str], expected: int
) -> Callable[[], object]:
    def call() -> None:
        found = server.client.get(path, params=query).json()
        files = found if isinstance(found, list) else found["files"]
        assert len(files) == expected, len(files)

    return call


def _insert_files(server: Server, folder: str) -> None:
    with server.postgres.connect(server.database) as connection:
        connection.execute(
            "INSERT INTO artifacts (tenant_id, path, size, etag, content_type, updated_time)"
            " SELECT id, %s || '/many/' || n || '.bin', 10, 'x', 'text/plain', 0"
            " FROM tenants, generate_series(1, %s) n WHERE slug = %s",
            (folder, LISTED, servers.TENANT),
        )
        connection.commit()
    server.postgres.vacuum(server.database)


def _create_files(root: Path, folder: str) -> None:
    many = root / folder / "many"
    many.mkdir(parents=True)
    for number in range(LISTED):
        (many / f"{number}.bin").touch()
