"""HTTP as it comes off the wire: what a well-behaved client library would refuse to send."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE = 15.0


def connect(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname, where.port), timeout=PATIENCE)


def answer_to(url: str, request: bytes) -> bytes:
    """All that the server sends until it closes the connection, which the request asks it to."""
    with connect(url) as connection:
        connection.sendall(request)
        return received(connection)


def received(connection: socket.socket) -> bytes:
    chunks = []
    try:
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    except ConnectionResetError:  # the server closed without having read all
        pass
    return b"".join(chunks)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """A request as given: nothing is encoded, normalized or added but Host and Connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def send_until_refused(connection: socket.socket, piece: bytes, limit: int) -> int:
    """How many bytes could be sent, up to `limit`, until the server closed the connection."""
    sent = 0
    try:
        while sent < limit:
            connection.sendall(piece)
            sent += len(piece)
    except (ConnectionError, TimeoutError):
        pass
    return sent


def resident_bytes(pid: int) -> int:
    """What a process holds in memory now."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * 4096
