"""Records the statements that are sent to Postgres."""

from typing import Any

import psycopg
import pytest

from app.db.pipeline import Pipeline


def recorded_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is sent from now on, in a pipeline or through SQLAlchemy."""
    sent: list[str] = []

    def record(owner: Any, name: str) -> None:
        execute = getattr(owner, name)

        async def recorded(self: Any, statement: Any, *args: Any, **more: Any) -> Any:
            sent.append(str(statement))
            return await execute(self, statement, *args, **more)

        monkeypatch.setattr(owner, name, recorded)

    record(psycopg.AsyncCursor, "execute")
    record(Pipeline, "execute")
    record(Pipeline, "execute_numbered")
    return sent
