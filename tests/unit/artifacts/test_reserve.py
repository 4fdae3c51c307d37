"""The disk reserve of the local store. tests/resilience/test_disk.py tests it on a small disk."""

import os
from pathlib import Path

import pytest
from minio.error import S3Error

from app.artifacts.stores.blocking.disk_reserve import DEFAULT_BYTES, DiskReserve
from app.artifacts.stores.blocking.s3_errors import s3_errors
from app.config import Settings
from app.kernel.errors import InsufficientStorageError

BLOCK = 4096
GIB = 1 << 30


def disk(monkeypatch: pytest.MonkeyPatch, *, total: int, free: int) -> None:
    """Every disk has that size, and so many free bytes for users other than root."""
    found = os.statvfs("/")
    values = list(found[:10])
    values[0] = values[1] = BLOCK
    values[2], values[3], values[4] = total // BLOCK, total // BLOCK, free // BLOCK
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))


@pytest.mark.parametrize(
    ("total", "size", "expected"),
    [
        (100 * GIB, None, DEFAULT_BYTES),
        (10 * GIB, None, GIB),
        (GIB, None, GIB // 10),
        (100 * GIB, 5 * GIB, 5 * GIB),
        (GIB, GIB // 2, GIB // 2),
        (GIB, 0, 0),
    ],
)
def test_its_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: int, size: int | None, expected: int
) -> None:
    reserve = DiskReserve(tmp_path, size)
    expected += -expected % BLOCK
    disk(monkeypatch, total=total, free=expected + 10 * BLOCK)
    reserve.check(0)
    reserve.check(9 * BLOCK)
    with pytest.raises(InsufficientStorageError, match=f"no room for {11 * BLOCK} bytes"):
        reserve.check(11 * BLOCK)
    disk(monkeypatch, total=total, free=max(0, expected - BLOCK))
    if expected:
        with pytest.raises(InsufficientStorageError, match="is full"):
            reserve.check(0)


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    DiskReserve(tmp_path / "data" / "artifacts").check(1)
    with pytest.raises(InsufficientStorageError):
        DiskReserve(tmp_path / "data" / "artifacts").check(1 << 60)


def test_the_operator_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk(monkeypatch, total=GIB, free=0)
    reserve = DiskReserve(tmp_path)
    for _ in range(5):
        with pytest.raises(InsufficientStorageError):
            reserve.check(1)
    [line] = caplog.messages
    assert "TRACKING_DISK_RESERVE_BYTES" in line


@pytest.mark.parametrize("given", ["", None, "1000000"])
def test_the_setting(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    if given is not None:
        monkeypatch.setenv("TRACKING_DISK_RESERVE_BYTES", given)
    assert Settings(_env_file=None).disk_reserve_bytes == (int(given) if given else None)


@pytest.mark.parametrize("code", ["XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"])
def test_minio_says_so_too(code: str) -> None:
    full = S3Error(
        response=None,  # type: ignore[arg-type]
        code=code,
        message="full",
        resource="",
        request_id="",
        host_id="",
    )
    with pytest.raises(InsufficientStorageError), s3_errors("key"):
        raise full
