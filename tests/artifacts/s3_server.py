"""An S3 server for the tests, over real HTTP: MinIO by Docker where that answers, else moto.

moto runs in a process of its own, so that its memory and its interpreter lock are not ours. Run as
a program, this file is that process: it prints its port and serves until its stdin ends, which it
does however the tests end.
"""

import subprocess
import sys
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
