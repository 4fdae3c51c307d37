"""File transfers over plain sockets, which use little CPU in the client."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from benchmarks import processes
from benchmarks.servers import Server

CHUNK = 1 << 20
_SAMPLE_SECONDS = 0.02


class NotServedError(Exception):
    """The server has no artifact proxy, or refused the request."""


def proxy_path(server: Server, artifact_uri: str, name: str = "") -> str:
    """The path of a run's artifact at the server's proxy. Raises NotServedError if it has none."""
    root = urlsplit(artifact_uri)
    if root.scheme != "mlflow-artifacts":
        raise NotServedError(f"the artifacts lie at {artifact_uri}, which no proxy serves")
    path = quote("/".join(part for part in (root.path.strip("/"), name) if part))
    return f"{server.prefix}/api/2.0/mlflow-artifacts/artifacts/{path}"


def connect(server: Server) -> socket.socket:
    url = urlsplit(server.url)
    connection = socket.create_connection((url.hostname or "", url.port or 80), timeout=600)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def upload(server: Server, path: str, file: Path) -> float:
    """Uploads a file; returns the seconds until it is acknowledged. Raises NotServedError."""
    started = time.perf_counter()
    with connect(server) as connection, file.open("rb") as source:
        host = urlsplit(server.url).netloc  # MLflow refuses unknown hosts
        head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        head += f"Content-Length: {file.stat().st_size}\r\n\r\n"
        connection.sendall(head.encode())
        connection.sendfile(source)
        status = connection.recv(CHUNK).split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise NotServedError(f"PUT answered {status}")
    return time.perf_counter() - started


def download(server: Server, path: str, file: Path) -> float:
    """Downloads to a file; returns the seconds until it is written. Raises NotServedError."""
    started = time.perf_counter()
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=600, blocksize=CHUNK)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise NotServedError(f"GET answered {answer.status}")
        buffer = memoryview(bytearray(CHUNK))
        with file.open("wb", buffering=0) as target:
            while count := answer.readinto(buffer):
                target.write(buffer[:count])
    finally:
        connection.close()
    return time.perf_counter() - started


def delete(server: Server, path: str) -> None:
    server.client.delete(path)


def copy(source: Path, target: Path, *, sync: bool) -> float:
    """Copies a file; returns the seconds. With `sync`, fsyncs it as an acknowledged upload is."""
    started = time.perf_counter()
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, CHUNK)
        if sync:
            writing.flush()
            os.fsync(writing.fileno())
    return time.perf_counter() - started


@contextmanager
def peak_memory(server: Server) -> Iterator[list[float]]:
    """Measures the peak memory of the server's processes above that at the start, in MB.

    The yielded list has this one figure after the context.
    """
    before = highest = server.memory().total
    over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(_SAMPLE_SECONDS):
            highest = max(highest, processes.memory(server.pid).total)

    watching = threading.Thread(target=watch)
    watching.start()
    figure: list[float] = []
    try:
        yield figure
    finally:
        over.set()
        watching.join()
        figure.append(highest - before)
