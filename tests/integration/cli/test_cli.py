"""The command line, as the processes that a user starts."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from app.config import Settings
from app.db import migrate
from app.db.embedded import EmbeddedPostgres, embedded_postgres, running
from tests.conftest import ROOT


class Service:
    """A `tracking serve` on a free port, whose lines on stderr are read as they come."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            env={"TRACKING_PORT": "0", **env},
            cwd=env["TRACKING_DATA_DIR"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_signals,
        )
        self.lines: list[str] = []
        self.url = ""

    def wait_until_ready(self) -> "Service":
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"ready on (http://\S+)", line):
                self.url = found[1]
                return self
        raise AssertionError(f"did not start: {''.join(self.lines)}")

    def health(self) -> int:
        with urllib.request.urlopen(f"{self.url}/health", timeout=10) as response:
            return int(response.status)

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        _, rest = self.process.communicate(timeout=30)
        self.lines += rest.splitlines(keepends=True)
        return self.process.returncode


def hear_signals() -> None:
    """Tests that were started with nohup or in the background pass its deafness on."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


Start = Callable[..., Service]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir()
    return folder


@pytest.fixture
def env(data_dir: Path) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")}
    own = {"TRACKING_DATA_DIR": str(data_dir), "TRACKING_LOG_FORMAT": "text"}
    return {**kept, "PYTHONPATH": str(ROOT), **own}


@pytest.fixture
def start(env: dict[str, str], data_dir: Path) -> Iterator[Start]:
    services: list[Service] = []

    def start(**extra: str) -> Service:
        services.append(Service({**env, **extra}))
        return services[-1].wait_until_ready()

    yield start
    for service in services:
        service.process.kill()
        with service.process:  # waits for it, and closes the pipe
            pass
    if left := running(data_dir):
        with suppress(ProcessLookupError):
            os.kill(left.pid, signal.SIGQUIT)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that is not the command's own."""
    with embedded_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def outside(postgres: EmbeddedPostgres, env: dict[str, str]) -> dict[str, str]:
    """The environment that names that server, with an up-to-date schema."""
    migrate.upgrade(postgres.owner_url)
    return {
        **env,
        "TRACKING_DATABASE_URL": postgres.app_url,
        "TRACKING_MIGRATION_DATABASE_URL": postgres.owner_url,
    }


def tracking(env: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=env,
        cwd=env["TRACKING_DATA_DIR"],
        capture_output=True,
        text=True,
        timeout=60,
    )


def refusal(env: dict[str, str], *arguments: str) -> str:
    """What the command says when it cannot be carried out."""
    done = tracking({"TRACKING_PORT": "0", **env}, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def set_revision(url: str, revision: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [revision])


def stopped(data_dir: Path) -> bool:
    return not (data_dir / "postgres" / "postmaster.pid").exists()


class TestServe:
    @pytest.mark.parametrize(
        ("how", "workers"),
        [(signal.SIGINT, "1"), (signal.SIGTERM, "1"), (signal.SIGINT, "2"), (signal.SIGTERM, "2")],
    )
    def test_serves_until_it_is_stopped(
        self, start: Start, data_dir: Path, how: signal.Signals, workers: str
    ) -> None:
        service = start(TRACKING_WORKERS=workers)
        assert service.health() == 200
        assert service.stop(how) == 0
        assert "tracking: stopped\n" in service.lines
        assert stopped(data_dir)

    def test_says_what_it_does_the_first_time(self, start: Start, data_dir: Path) -> None:
        first = start()
        first.stop(signal.SIGTERM)
        assert first.lines[0] == (
            f"tracking: creating a Postgres database in {data_dir} (the first time only)\n"
        )
        second = start()
        second.stop(signal.SIGTERM)
        assert [line.split(" on ")[0] for line in second.lines] == [
            "tracking: ready",
            "tracking: stopped\n",
        ]

    def test_a_terminal_that_closes(self, start: Start, data_dir: Path) -> None:
        service = start()
        assert service.process.stderr is not None
        service.process.stderr.close()
        service.process.send_signal(signal.SIGHUP)
        assert service.process.wait(timeout=30) == 0
        assert stopped(data_dir)

    def test_a_second_one_on_the_same_folder(self, start: Start, env: dict[str, str]) -> None:
        first = start()
        assert re.fullmatch(
            rf"tracking: data folder .* is in use by another server \(pid {first.process.pid}\)\n",
            refusal(env, "serve"),
        )
        assert first.health() == 200

    def test_after_it_was_killed(self, start: Start, data_dir: Path) -> None:
        killed = start()
        killed.process.kill()
        killed.process.wait()
        assert not stopped(data_dir)
        service = start()
        assert service.health() == 200
        assert service.stop(signal.SIGINT) == 0
        assert stopped(data_dir)

    def test_a_port_that_is_taken(self, env: dict[str, str], data_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert refusal({**env, "TRACKING_PORT": str(port)}, "serve") == (
                f"tracking: port {port} on 127.0.0.1 is taken:"
                " stop what listens there or set TRACKING_PORT\n"
            )
        assert list(data_dir.iterdir()) == []

    def test_an_address_of_another_machine(self, env: dict[str, str]) -> None:
        elsewhere = {"TRACKING_HOST": "192.0.2.1", "TRACKING_AUTH": "keys"}
        message = refusal({**env, **elsewhere}, "serve")
        assert message.startswith("tracking: cannot listen on 192.0.2.1, port 0: ")
        assert message.endswith(": set TRACKING_HOST and TRACKING_PORT\n")

    def test_a_database_that_does_not_answer(self, env: dict[str, str]) -> None:
        url = "postgresql://me:hunter2@127.0.0.1:1/tracking"
        message = refusal({**env, "TRACKING_DATABASE_URL": url}, "serve")
        assert message.startswith(
            "tracking: cannot connect to the database in TRACKING_DATABASE_URL: "
        )
        assert message.count("\n") == 1
        assert "hunter2" not in message

    def test_a_malformed_database_url(self, env: dict[str, str]) -> None:
        url = "postgresql://me:hunter2%zz@127.0.0.1/tracking"
        assert refusal({**env, "TRACKING_DATABASE_URL": url}, "serve") == (
            "tracking: TRACKING_DATABASE_URL is not a valid postgresql:// URL\n"
        )

    def test_settings_that_are_wrong(self, env: dict[str, str]) -> None:
        wrong = {"TRACKING_WORKERS": "0", "TRACKING_DATABASE_URL": "mysql://me:hunter2@db/x"}
        lines = refusal({**env, **wrong}, "serve").splitlines()
        assert len(lines) == 2
        assert "tracking: TRACKING_DATABASE_URL: must be a postgresql:// URL" in lines
        assert any(line.startswith("tracking: TRACKING_WORKERS: Input should be") for line in lines)

    def test_a_database_elsewhere(self, start: Start, outside: dict[str, str]) -> None:
        service = start(**outside)
        assert service.health() == 200
        assert service.stop(signal.SIGINT) == 0
        assert stopped(Path(outside["TRACKING_DATA_DIR"]))

    def test_a_schema_that_is_behind(self, env: dict[str, str], data_dir: Path) -> None:
        assert refusal(env, "serve", "--no-migrate").splitlines()[-1] == (
            "tracking: the database's schema is empty, run: tracking migrate"
        )
        assert stopped(data_dir)

    def test_a_schema_that_is_ahead(
        self, outside: dict[str, str], postgres: EmbeddedPostgres
    ) -> None:
        set_revision(postgres.owner_url, "later")
        try:
            message = refusal(outside, "serve", "--migrate")
        finally:
            set_revision(postgres.owner_url, migrate.head())
        assert message.startswith("tracking: the database's schema is ahead of this version")
        assert message.count("\n") == 1


class TestMigrate:
    def test_embedded(self, env: dict[str, str], data_dir: Path) -> None:
        assert tracking(env, "migrate").stderr.splitlines()[-1] == (
            "tracking: the schema is current"
        )
        assert stopped(data_dir)

    def test_beside_a_service(self, start: Start, env: dict[str, str]) -> None:
        service = start()
        assert tracking(env, "migrate").returncode == 0
        assert service.health() == 200

    def test_an_unknown_revision(self, outside: dict[str, str]) -> None:
        message = refusal(outside, "migrate", "--to", "nowhere")
        assert "tracking: cannot migrate: " in message
        assert "nowhere" in message

    def test_a_database_that_does_not_answer(self, env: dict[str, str]) -> None:
        url = "postgresql://127.0.0.1:1/tracking"
        message = refusal({**env, "TRACKING_MIGRATION_DATABASE_URL": url}, "migrate")
        assert "the database in TRACKING_MIGRATION_DATABASE_URL: " in message


class TestTenant:
    def test_create_and_list(self, outside: dict[str, str], postgres: EmbeddedPostgres) -> None:
        assert tracking(outside, "tenant", "create", "acme-corp").returncode == 0
        listed = tracking(outside, "tenant", "list").stdout.splitlines()
        [row] = [line.split("\t") for line in listed if "\tacme-corp\t" in line]
        with psycopg.connect(postgres.owner_url) as connection:
            connection.execute("SELECT set_config('app.tenant_id', %s, true)", [row[0]])
            names = connection.execute("SELECT experiment_id, name FROM experiments").fetchall()
        assert names == [(0, "Default")]

    def test_a_slug_that_is_taken(self, outside: dict[str, str]) -> None:
        assert tracking(outside, "tenant", "create", "twice").returncode == 0
        assert refusal(outside, "tenant", "create", "twice") == (
            "tracking: tenant 'twice' exists already\n"
        )

    def test_a_malformed_slug(self, outside: dict[str, str]) -> None:
        assert "tracking: 'Acme Corp' is no tenant slug" in refusal(
            outside, "tenant", "create", "Acme Corp"
        )

    def test_a_schema_that_is_behind(self, env: dict[str, str]) -> None:
        assert refusal(env, "tenant", "list").endswith("run: tracking migrate\n")

    def test_beside_a_service(self, start: Start, env: dict[str, str]) -> None:
        start()
        assert tracking(env, "tenant", "create", "beside").returncode == 0
        assert "\tbeside\t" in tracking(env, "tenant", "list").stdout


class TestVersion:
    def test_prints_it(self, env: dict[str, str]) -> None:
        assert re.fullmatch(r"\d+\.\d+\.\d+\n", tracking(env, "version").stdout)


class TestEnvExample:
    def test_names_every_setting(self) -> None:
        names = re.findall(r"^#TRACKING_(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
        assert [name.lower() for name in names] == list(Settings.model_fields)
