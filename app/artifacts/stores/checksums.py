"""Checksums of what is stored: what a client declared, and what arrived."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.kernel.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Digest:
    """What a client says that the bytes hash to; `header` is where it said so."""

    algorithm: Literal["md5", "sha256", "sha512"]
    value: bytes
    header: str


class Checksums:
    """Hashes a body as it passes: SHA-256 for the record, and what `declared` is checked by."""

    def __init__(self, declared: Sequence[Digest] = ()) -> None:
        self._declared = declared
        self._hashes = {
            name: hashlib.new(name, usedforsecurity=False)
            for name in {"sha256", *(digest.algorithm for digest in declared)}
        }

    def update(self, data: memoryview) -> None:
        """Takes about 0.5 ms a MiB and lets other threads run meanwhile."""
        for each in self._hashes.values():
            each.update(data)

    def check(self) -> None:
        """Raises InvalidValueError, naming the header, if the bytes are not the declared ones."""
        for digest in self._declared:
            if self._hashes[digest.algorithm].digest() != digest.value:
                raise InvalidValueError(
                    f"The request body does not have the {digest.algorithm} checksum that its"
                    f" {digest.header} declares",
                    field=digest.header,
                )

    @property
    def sha256(self) -> str:
        return self._hashes["sha256"].hexdigest()
