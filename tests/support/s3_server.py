"""An S3 server for the tests, over real HTTP: MinIO by Docker where that answers, else moto.

moto runs in a process of its own, so that its memory and its interpreter lock are not ours. Run as
a program, this file is that process: it prints its port and serves until its stdin ends, which it
does however the tests end.
"""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

if TYPE_CHECKING:  # the server's own process has no use for the application
    from app.config import Settings

ACCESS_KEY = "tests-access-key"
SECRET_KEY = "tests-secret-key"


@dataclass(frozen=True)
class S3Server:
    name: str
    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY


def s3_settings(settings: "Settings", s3: S3Server, prefix: str, **more: Any) -> "Settings":
    return settings.model_copy(
        update={
            "minio_endpoint": s3.endpoint,
            "minio_access_key": s3.access_key,
            "minio_secret_key": SecretStr(s3.secret_key),
            "minio_bucket_prefix": prefix,
            **more,
        }
    )


class failing_server:  # noqa: N801
    """An HTTP server that answers every request with one S3 error, or with HTML."""

    def __init__(self, status: int, code: str | None) -> None:
        if code:
            kind, body = "application/xml", f"<Error><Code>{code}</Code></Error>"
        else:
            kind, body = "text/html", "<html></html>"

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", "0")))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body.encode())

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{self._server.server_port}"

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    with _minio() if docker_answers() else _moto() as server:
        yield server


def docker_answers() -> bool:
    import docker

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def _minio() -> Iterator[S3Server]:
    from testcontainers.community.minio import MinioContainer

    with MinioContainer(access_key=ACCESS_KEY, secret_key=SECRET_KEY) as container:
        endpoint = f"{container.get_container_host_ip()}:{container.get_exposed_port(9000)}"
        yield S3Server("MinIO by testcontainers", endpoint)


@contextmanager
def _moto() -> Iterator[S3Server]:
    command = [sys.executable, __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port.isdecimal(), "moto's server did not start: is moto[server] installed?"
        try:
            yield S3Server("moto[server]", f"127.0.0.1:{port}")
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _serve() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    _serve()
