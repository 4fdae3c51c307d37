"""Logging configuration: formatters for JSON lines and for text.

The handler is the root logger's, so that the lines of libraries are formatted too. Requests are
logged by `app.observability.access_log`.
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

_VERBOSE_LOGGERS = ("uvicorn", "alembic")

# Characters that end a line, or that a terminal takes for a command.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class JsonFormatter(logging.Formatter):
    """One JSON object on a line; a traceback is one of its fields."""

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
    """One line of text; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        message = f"{_time(record):%H:%M:%S} {record.levelname} {record.name}: "
        message += one_line(record.getMessage())
        message += "".join(f" {name}={value}" for name, value in request_fields().items())
        if record.exc_info:
            message += "\n" + traceback_of(self, record)
        return message


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback without the values of SQL statements.

    SQLAlchemy's errors contain the statement's parameters, and Postgres's the offending row: data
    of tenants, and hashes of keys.
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
    """Postgres's primary error message, which contains no values; else the error's class."""
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return message or type(error).__name__


def request_fields() -> dict[str, str]:
    """The fields that identify the current request; empty outside a request."""
    request = current()
    if request is None:
        return {}
    fields = {"request_id": request.request_id}
    if tenant := request.tenant:
        fields["tenant"] = tenant
    return fields


def one_line(text: str) -> str:
    """The text with line breaks and control characters escaped."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], printable(text))


def printable(text: str) -> str:
    """The text with lone surrogates escaped, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def chosen_format(setting: Format | None) -> Format:
    """The format that is set; by default text on a terminal and JSON elsewhere."""
    return setting or ("text" if sys.stderr.isatty() else "json")


def configuration(format: Format, level: str) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`; uvicorn passes it on to its workers."""
    formatter = JsonFormatter if format == "json" else TextFormatter
    # At INFO they repeat what this service prints when it starts, migrates and stops.
    quiet = {} if level == "debug" else {name: {"level": "WARNING"} for name in _VERBOSE_LOGGERS}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{__name__}.{formatter.__name__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": quiet,
    }


def formatter() -> logging.Formatter | None:
    """The formatter of this process's handler; None before logging is configured."""
    handlers = logging.getLogger().handlers
    return handlers[0].formatter if handlers else None


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
