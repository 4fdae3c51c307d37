"""The key that signs URLs, in a file beside the folder of a local store."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from app.kernel.errors import UnavailableError

_KEY_BYTES = 32


def read_or_create_key(path: Path) -> bytes:
    """The key in the file, which is created, mode 0600, where there is none.

    Safe in several processes at once: all get the same key. Raises UnavailableError.
    """
    try:
        with suppress(FileNotFoundError):
            return path.read_bytes()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".signing-key-{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            # Where another process was faster, its key is kept.
            with suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink()
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(
            f"The key that signs URLs cannot be read or written at '{path}': {error.strerror}"
        ) from error
