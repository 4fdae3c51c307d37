"""The embedded Postgres, as real processes. As root, pytest's folders are private to root."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from app.db.embedded import EmbeddedPostgresError, embedded_postgres, running
from tests.conftest import ROOT

NOBODY = 65534

# An owner of its own, that a test can kill. It prints the server's pid.
OWNER = """
import os, signal, sys, time
from pathlib import Path
from app.db.embedded import embedded_postgres

if len(sys.argv) > 2:  # once Python is loaded: it may be where only root can read it
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
# Tests that were started in the background pass its deafness on.
signal.signal(signal.SIGINT, signal.default_int_handler)
with embedded_postgres(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def owner(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with start_owner(data_dir) as process:
        assert process.stdout is not None
        postmaster = int(process.stdout.readline())
        yield process
        process.kill()
    with suppress(ProcessLookupError):  # the test has stopped it, as a rule
        os.kill(postmaster, signal.SIGQUIT)


def start_owner(data_dir: Path, *uid: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", OWNER, str(data_dir), *uid]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


# It neither waits nor writes.
COMPUTE_FOR_EVER = "SELECT count(*) FROM (SELECT generate_series(1, 1000000000000)) AS one"


def compute_for_ever(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    with suppress(psycopg.OperationalError):
        connection.execute(COMPUTE_FOR_EVER)


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def stopped(data_dir: Path) -> bool:
    return not (data_dir / "postgres" / "postmaster.pid").exists()


class TestStart:
    def test_roles(self, data_dir: Path) -> None:
        with embedded_postgres(data_dir) as server:
            for url, role in (
                (server.owner_url, "tracking_owner"),
                (server.app_url, "tracking_app"),
            ):
                query = (
                    "SELECT concat_ws(' ', rolname, rolsuper, rolbypassrls, rolcreaterole)"
                    " FROM pg_roles WHERE rolname = current_user"
                )
                assert value(url, query) == f"{role} f f f"
            assert value(server.owner_url, "SELECT current_database()") == "tracking"
            with (
                psycopg.connect(server.app_url) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute("CREATE TABLE mine ()")

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("listen_addresses", ""),
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("server_encoding", "UTF8"),
            ("max_connections", "20"),
        ],
    )
    def test_settings(self, shared_url: str, setting: str, expected: str) -> None:
        assert value(shared_url, f"SHOW {setting}") == expected

    def test_its_log_takes_a_part_of_a_small_disk(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: found._replace(total=1 << 30))
        with embedded_postgres(data_dir) as server:
            assert value(server.app_url, "SHOW max_wal_size") == "102MB"
            assert value(server.app_url, "SHOW min_wal_size") == "80MB"

    def test_letters_beyond_ascii(self, shared_url: str) -> None:
        assert value(shared_url, "SELECT lower('ÄΩ')") == "äω"

    def test_its_folder_is_private(self, data_dir: Path) -> None:
        with embedded_postgres(data_dir):
            assert (data_dir / "postgres").stat().st_mode & 0o777 == 0o700

    def test_data_outlives_a_restart_and_a_move(self, tmp_path: Path) -> None:
        with embedded_postgres(tmp_path / "one") as server:
            with psycopg.connect(server.owner_url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            first = server.pid
        (tmp_path / "one").rename(tmp_path / "another place")
        with embedded_postgres(tmp_path / "another place") as server:
            assert server.pid != first
            assert value(server.owner_url, "SELECT answer FROM kept") == 42

    def test_a_path_too_long_for_a_socket(self, tmp_path: Path) -> None:
        data_dir = tmp_path / "a long path" / ("x" * 100)
        with embedded_postgres(data_dir) as server:
            assert value(server.app_url, "SELECT 1") == 1
            found = running(data_dir)
            assert found == server
        assert stopped(data_dir)

    def test_a_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with embedded_postgres(Path(".data")) as server:
            monkeypatch.chdir("/")
            assert value(server.app_url, "SELECT 1") == 1

    def test_after_an_interrupted_initdb(self, data_dir: Path) -> None:
        (data_dir / "postgres.new").mkdir(parents=True)
        (data_dir / "postgres.new" / "PG_VERSION").write_text("18")
        with embedded_postgres(data_dir) as server:
            assert value(server.app_url, "SELECT 1") == 1

    def test_after_a_crash(self, data_dir: Path) -> None:
        with embedded_postgres(data_dir) as server:
            os.kill(server.pid, signal.SIGKILL)
        assert not stopped(data_dir)
        with embedded_postgres(data_dir) as server:
            assert value(server.app_url, "SELECT 1") == 1

    def test_after_a_crash_with_a_process_that_computes(self, data_dir: Path) -> None:
        """It does not see that its postmaster is gone, and keeps the next one from starting."""
        with embedded_postgres(data_dir) as server:
            client = psycopg.connect(server.app_url)
            computing = threading.Thread(target=compute_for_ever, args=(client,))
            computing.start()
            backend = client.info.backend_pid
            while "SELECT" not in Path(f"/proc/{backend}/cmdline").read_text():
                time.sleep(0.01)
            os.kill(server.pid, signal.SIGKILL)
            os.waitpid(server.pid, 0)
            assert Path(f"/proc/{backend}").exists()
        with embedded_postgres(data_dir) as server:
            assert value(server.app_url, "SELECT 1") == 1
        computing.join(timeout=60)
        assert not computing.is_alive()
        client.close()

    def test_the_processes_of_another_folder_are_left_alone(
        self, data_dir: Path, tmp_path: Path
    ) -> None:
        with embedded_postgres(tmp_path / "other") as other:
            with embedded_postgres(data_dir) as server:
                os.kill(server.pid, signal.SIGKILL)
            with psycopg.connect(other.app_url) as client, embedded_postgres(data_dir):
                assert client.execute("SELECT 1").fetchone() == (1,)

    def test_after_a_crash_when_its_pid_went_to_another_program(self, data_dir: Path) -> None:
        record = data_dir / "postgres" / "postmaster.pid"
        with embedded_postgres(data_dir):
            lines = record.read_text().splitlines(keepends=True)
        owner = (data_dir / "postgres").stat()
        with subprocess.Popen(["sleep", "60"]) as other:
            record.write_text("".join([f"{other.pid}\n", *lines[1:]]))
            os.chown(record, owner.st_uid, owner.st_gid)
            with embedded_postgres(data_dir) as server:
                assert value(server.app_url, "SELECT 1") == 1
            assert other.poll() is None
            other.kill()

    def test_says_why_it_did_not_start(self, data_dir: Path) -> None:
        with (
            pytest.raises(EmbeddedPostgresError, match=r"did not start:.*shared_buffers") as raised,
            embedded_postgres(data_dir, settings={"shared_buffers": "many"}),
        ):
            pass
        assert "\n" not in str(raised.value)
        assert stopped(data_dir)

    def test_a_cluster_of_another_version(self, data_dir: Path) -> None:
        (data_dir / "postgres").mkdir(parents=True)
        (data_dir / "postgres" / "PG_VERSION").write_text("9\n")
        with (
            pytest.raises(EmbeddedPostgresError, match="was created by Postgres 9, and Postgres"),
            embedded_postgres(data_dir),
        ):
            pass

    def test_a_data_folder_that_is_a_file(self, data_dir: Path) -> None:
        data_dir.write_text("")
        with (
            pytest.raises(EmbeddedPostgresError, match="cannot be used"),
            embedded_postgres(data_dir),
        ):
            pass


class TestOwnership:
    def test_stops_with_its_owner(self, data_dir: Path) -> None:
        assert running(data_dir) is None
        with embedded_postgres(data_dir) as server:
            assert running(data_dir) == server
        assert stopped(data_dir)
        assert running(data_dir) is None

    def test_stops_with_clients_connected(self, data_dir: Path) -> None:
        with embedded_postgres(data_dir) as server:
            client = psycopg.connect(server.app_url)
            client.execute("SELECT 1")
        assert stopped(data_dir)
        client.close()

    def test_a_second_owner_is_refused(
        self, data_dir: Path, owner: "subprocess.Popen[str]"
    ) -> None:
        with (
            pytest.raises(EmbeddedPostgresError, match=rf"in use .* \(pid {owner.pid}\)"),
            embedded_postgres(data_dir),
        ):
            pass
        server = running(data_dir)
        assert server is not None
        assert value(server.app_url, "SELECT 1") == 1

    def test_adopts_what_a_killed_owner_left(
        self, data_dir: Path, owner: "subprocess.Popen[str]"
    ) -> None:
        left = running(data_dir)
        assert left is not None
        owner.kill()
        owner.wait()
        assert running(data_dir) == left
        with embedded_postgres(data_dir) as server:
            assert server == left
            assert value(server.app_url, "SELECT 1") == 1
        assert stopped(data_dir)

    def test_a_copy_of_a_folder_in_use(self, data_dir: Path, tmp_path: Path) -> None:
        with embedded_postgres(data_dir):
            shutil.copytree(
                data_dir, tmp_path / "copy", ignore=shutil.ignore_patterns(".s.PGSQL.*[0-9]")
            )
            assert running(tmp_path / "copy") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
class TestUsers:
    def test_runs_as_a_user_who_is_not_root(self) -> None:
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        packages = Path(psycopg.__file__).parent
        if subprocess.run([*as_nobody, "test", "-x", packages]).returncode:
            pytest.skip("the packages are below a folder that only root may enter")
        with tempfile.TemporaryDirectory() as folder:
            os.chown(folder, NOBODY, NOBODY)
            data_dir = Path(folder) / "data"
            with start_owner(data_dir, str(NOBODY)) as process:
                assert process.stdout is not None
                postmaster = int(process.stdout.readline())
                capabilities = Path(f"/proc/{postmaster}/status").read_text()
                assert "CapEff:\t0000000000000000" in capabilities
                process.send_signal(signal.SIGINT)
            assert stopped(data_dir)
            # Root takes the same folder over, and leaves it with its user.
            with embedded_postgres(data_dir):
                pass
            assert (data_dir / "postgres" / "PG_VERSION").stat().st_uid == NOBODY

    def test_leaves_private_parents_as_they_are(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        with embedded_postgres(private / "data") as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid == NOBODY
        assert private.stat().st_mode & 0o777 == 0o700
        assert private.stat().st_uid == 0


@pytest.fixture(scope="module")
def shared_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("with a space")
    with embedded_postgres(folder, settings={"max_connections": "20"}) as server:
        yield server.app_url
