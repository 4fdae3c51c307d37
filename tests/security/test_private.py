"""The data folder is nobody else's, also one that was there before, or came from a copy."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.artifacts.stores.local import LocalStore
from app.db import migrate
from app.db.embedded import embedded_postgres
from app.kernel.private_files import make_private
from tests.conftest import running_server


def open_to_others(folder: Path) -> list[str]:
    """What others may reach in it: what lies in a folder that is closed to them, they can't."""
    return [
        str(path.relative_to(folder.parent))
        for path in (folder, *folder.iterdir())
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_of_a_server(data_dir: Path, tmp_path: Path) -> None:
    """As it is made, and as an older version has left it."""
    environment = {"TRACKING_DATA_DIR": str(data_dir), "TRACKING_DATABASE_URL": ""}
    with running_server(environment, tmp_path / "log"):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert open_to_others(data_dir) == []
        assert {"lock", "postgres", "postgres.log"} <= {path.name for path in data_dir.iterdir()}
    data_dir.chmod(0o755)
    for name in ("lock", "postgres.log"):
        (data_dir / name).chmod(0o644)
    (data_dir / "signing-key").write_bytes(bytes(32))
    (data_dir / "artifacts").mkdir(exist_ok=True)
    for name, mode in (("signing-key", 0o644), ("artifacts", 0o755)):
        (data_dir / name).chmod(mode)
    with running_server(environment, tmp_path / "log"):
        assert open_to_others(data_dir) == []
        assert (data_dir / "postgres.log.old").exists()


def test_of_artifacts_alone(data_dir: Path, tmp_path: Path) -> None:
    """Where Postgres is elsewhere."""
    with embedded_postgres(tmp_path / "elsewhere") as server:
        environment = {
            "TRACKING_DATA_DIR": str(data_dir),
            "TRACKING_DATABASE_URL": server.app_url,
            "TRACKING_MIGRATION_DATABASE_URL": server.owner_url,
        }
        migrate.upgrade(server.owner_url)
        with running_server(environment, tmp_path / "log"):
            assert open_to_others(data_dir) == []


async def test_of_a_store_that_makes_its_folder(data_dir: Path) -> None:
    store = LocalStore(data_dir / "artifacts")
    await store.check()
    store.signing_key()
    assert open_to_others(data_dir) == []
    await store.close()


def test_what_is_everybodys_stays_so(data_dir: Path) -> None:
    """A folder such as /tmp; what is the service's in it is private."""
    data_dir.mkdir()
    data_dir.chmod(0o1777)
    (data_dir / "signing-key").write_bytes(b"")
    (data_dir / "signing-key").chmod(0o644)
    (data_dir / "another's").write_bytes(b"")
    (data_dir / "another's").chmod(0o644)
    assert make_private(data_dir)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o1777
    assert open_to_others(data_dir) == ["data", "data/another's"]


def test_a_link_is_not_followed(data_dir: Path, tmp_path: Path) -> None:
    data_dir.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (data_dir / "artifacts").symlink_to(elsewhere)
    assert make_private(data_dir)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755


def test_another_users(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o755)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    assert not make_private(data_dir)
