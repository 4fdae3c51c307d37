"""More connections than a worker has files for."""

import re
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.conftest import Postgres, running_server
from tests.security.raw import connect, received, request
from tests.security.targets import Target

# Of the server's own: sockets to Postgres, the event loop's, logs.
FILES = 200
MANY = 150


@pytest.fixture(scope="module")
def few_files(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server that was started with a low limit of open files, which it may raise."""
    folder: Path = tmp_path_factory.mktemp("connections")
    environment = {
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
        "TRACKING_DATA_DIR": str(folder / "data"),
    }
    with running_server(environment, folder / "log", open_files=512) as (url, process):
        yield Target("local", url, process.pid, folder / "log", folder / "data")


def test_the_limit_of_open_files_is_raised(few_files: Target) -> None:
    limits = Path(f"/proc/{few_files.pid}/limits").read_text()
    found = re.search(r"Max open files +(\S+) +(\S+)", limits)
    assert found
    assert found[1] == found[2]


def test_too_many_connections_are_told_to_come_back(few_files: Target) -> None:
    """None is left waiting, and those that are there go on; when they are gone, others come in."""
    resource.prlimit(few_files.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    health = request("GET", "/health")
    with ExitStack() as stack:
        first = [stack.enter_context(connect(few_files.url)) for _ in range(10)]
        more = [stack.enter_context(connect(few_files.url)) for _ in range(MANY)]
        refused = [received(one) for one in more[-50:]]
        for one in first:
            one.sendall(health)
            assert received(one).startswith(b"HTTP/1.1 200 ")
    assert {answer.split(b"\r\n")[0] for answer in refused} == {b"HTTP/1.1 503 Service Unavailable"}
    assert all(b"retry-after: 1\r\n" in answer for answer in refused)
    for _ in range(100):
        if httpx.get(f"{few_files.url}/health").status_code == 200:
            break
        time.sleep(0.05)
    else:
        pytest.fail("nobody is let in any more")
    assert "Too many open files" not in few_files.log.read_text()
    assert '"error"' not in few_files.log.read_text()
