"""The thread that writes the access log."""

import threading
import time

import pytest

from app.observability import access_log
from app.observability.access_log import AccessLog


def test_closed_while_it_gathers_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its thread ends, and what was added is written."""
    gathering, sleep = threading.Event(), time.sleep

    def announced(seconds: float) -> None:
        gathering.set()
        sleep(seconds)

    monkeypatch.setattr(access_log.time, "sleep", announced)
    before = set(threading.enumerate())
    log = AccessLog("all", "json", slow=1)
    log.start()
    log.add(
        request_id="the-id",
        method="GET",
        route="/",
        status=200,
        seconds=0,
        size=0,
        tenant=None,
        caller=None,
    )
    assert gathering.wait(30)
    log.close()
    assert set(threading.enumerate()) <= before
    assert "the-id" in capfd.readouterr().err
