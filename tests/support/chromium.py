"""Debian's Chromium, driven by Playwright, and what a page asked and complained about."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, sync_playwright

PROGRAM = shutil.which("chromium")
_OPTIONS = [
    *("--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"),
]


def require_chromium() -> None:
    """Skips where it is missing; in CI it has to be there."""
    if PROGRAM is None:
        can_be_installed = os.getuid() == 0 and shutil.which("apt-get")
        assert not ("CI" in os.environ and can_be_installed), ".ci/run should have installed it"
        pytest.skip("Chromium is not installed (Debian: chromium)")


@contextmanager
def chromium() -> Iterator[Browser]:
    require_chromium()
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM, args=[*_OPTIONS, *sandbox], headless=True
        )
        yield browser
        browser.close()


@dataclass
class Observed:
    """What went wrong in a page: answers of 400 and above, requests without an answer, and errors
    in its console."""

    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


def observe(page: Page) -> Observed:
    seen = Observed()

    def answered(response: Response) -> None:
        if response.status >= 400:
            seen.failed.append(f"{response.status} {response.request.method} {response.url}")

    def failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page itself gave it up
            seen.failed.append(f"{request.failure} {request.method} {request.url}")

    page.on("response", answered)
    page.on("requestfailed", failed)
    page.on("request", lambda request: seen.hosts.add(request.url.split("/")[2]))
    page.on(
        "console",
        lambda message: seen.errors.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    return seen
