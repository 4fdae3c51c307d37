"""Debian's Chromium without a window, and pages of other sites that it is led to."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PROGRAM = shutil.which("chromium")
_PATIENCE = 90.0  # seconds


@dataclass(frozen=True)
class Page:
    """A page once its scripts have run. `console` are the browser's messages about it, of which
    each refusal by a content security policy is one."""

    html: str
    console: list[str]


def opened(url: str, profile: Path) -> Page:
    """The page at the URL, five of its own seconds later, in a browser of its own."""
    assert PROGRAM
    command = [PROGRAM, "--headless", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-sandbox"] if os.getuid() == 0 else []
    command += ["--no-proxy-server", "--enable-logging=stderr", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", url]
    ran = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
    lines = ran.stderr.decode(errors="replace").splitlines()
    return Page(ran.stdout.decode(errors="replace"), [one for one in lines if "CONSOLE" in one])


class Site:
    """A site on 127.0.0.1 that has one page at each of its paths."""

    def __init__(self, port: int, html: str) -> None:
        self.port = port
        self.html = html


@contextmanager
def site(html: str = "") -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = it.html.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it = Site(server.server_port, html)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
