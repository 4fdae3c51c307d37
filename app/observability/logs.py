"""Log lines as JSON, or as text for people; one line each, whatever is in them.

Every library's lines come this way, since the handler is the root logger's. What a request is
answered with is written by `app.observability.access_log`.
"""

import logging
import logging.config
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import psycopg
from sqlalchemy.exc import DBAPIError

from app.kernel.request_context import current

Format = Literal["json", "text"]

_TALKATIVE = ("uvicorn", "alembic")

# What would end a line, or be taken for a command by a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class JsonFormatter(logging.Formatter):
    """One JSON object a line. A traceback is a field of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        line |= request_fields()
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = traceback_of(self, record)
        return msgspec.json.encode(line).decode()


class TextFormatter(logging.Formatter):
    """One line for a person, and a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        message = f"{_time(record):%H:%M:%S} {record.levelname} {record.name}: "
        message += one_line(record.getMessage())
        message += "".join(f" {name}={value}" for name, value in request_fields().items())
        if record.exc_info:
            message += "\n" + traceback_of(self, record)
        return message


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback, without the values that were on their way to Postgres.

    SQLAlchemy's errors show the parameters of their statement, and Postgres's the row at fault:
    what a tenant logged, and hashes of keys.
    """
    assert record.exc_info is not None
    text = formatter.formatException(record.exc_info)
    error = record.exc_info[1]
    while error is not None:
        if isinstance(error, DBAPIError):
            text = text.replace(str(error), f"{_primary(error.orig)}\n[SQL: {error.statement}]")
        elif isinstance(error, psycopg.Error):
            text = text.replace(str(error), _primary(error))
        error = error.__cause__ or error.__context__
    return printable(text)


def _primary(error: BaseException | None) -> str:
    """The first line of what Postgres says, which has no values in it."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return said or type(error).__name__


def request_fields() -> dict[str, str]:
    """What a line says of the request that it was written for."""
    request = current()
    if request is None:
        return {}
    fields = {"request_id": request.request_id}
    if tenant := request.tenant:
        fields["tenant"] = tenant
    return fields


def one_line(text: str) -> str:
    """Text that cannot begin a line of its own, nor move a terminal's cursor."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], printable(text))


def printable(text: str) -> str:
    """Without the half characters that a request may smuggle in and UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def chosen_format(setting: Format | None) -> Format:
    """The format that is set, or else text on a terminal and JSON elsewhere."""
    return setting or ("text" if sys.stderr.isatty() else "json")


def configuration(format: Format, level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`, and for uvicorn, which hands it to its workers."""
    formatter = JsonFormatter if format == "json" else TextFormatter
    # What they say at INFO this service says itself when it starts, migrates and stops.
    quiet = {} if level == "debug" else {name: {"level": "WARNING"} for name in _TALKATIVE}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{__name__}.{formatter.__name__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": quiet,
    }


def formatter() -> logging.Formatter | None:
    """The one that lines of this process are written by; None before it was configured."""
    handlers = logging.getLogger().handlers
    return handlers[0].formatter if handlers else None


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
