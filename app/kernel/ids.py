"""Generating and parsing ids. None of them shows a tenant how much others do."""

import secrets
import time
from uuid import UUID

# The experiment that every tenant begins with.
FIRST_EXPERIMENT_ID, FIRST_EXPERIMENT_NAME = 0, "Default"

_EPOCH_MS = 1_577_836_800_000  # 2020-01-01, so that experiment ids stay at 18 digits


def new_uuid() -> UUID:
    """A UUIDv7 (RFC 9562): it begins with the time in milliseconds, so that new rows sort last."""
    value = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def new_experiment_id() -> int:
    """A time-ordered number of at most 59 bits: milliseconds, then 20 random bits."""
    return (time.time_ns() // 1_000_000 - _EPOCH_MS) << 20 | secrets.randbits(20)


def parse_run_id(text: str) -> UUID | None:
    """The run id as stored; None if the text is not one (32 lower-case hex digits)."""
    if len(text) != 32 or not all(c in "0123456789abcdef" for c in text):
        return None
    return UUID(hex=text)


def parse_experiment_id(text: str) -> int | None:
    """The experiment id as stored; None if the text is not one."""
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    number = int(text)
    return number if number < 2**63 else None


def new_model_id() -> str:
    """A logged model's id in MLflow's form, `m-` and 32 hex digits; new ids sort last."""
    return f"m-{new_uuid().hex}"


def is_model_id(text: str) -> bool:
    """Whether the text has the form of a logged model's id."""
    return text.startswith("m-") and parse_run_id(text[2:]) is not None
