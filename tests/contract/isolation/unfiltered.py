"""The application without its own walls between tenants: statements lose their tenant filters on
their way to Postgres, whichever of the two doors to the pool they take."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from app.db.pipeline import Pipeline

# `runs.tenant_id = %(tenant_id_1)s::INTEGER`, `r.tenant_id = %(tenant)s`, `runs.tenant_id = $1`
_FILTER = re.compile(r"(?:\b\w+\.)?\btenant_id = (?:%\(\w+\)s|\$\d+)(?:::\w+)?")
# Another way to compare with the tenant would be passed over unseen.
_COMPARED = re.compile(
    r"tenant_id\W{0,3}\s*(?:=|IN|<>|!=)\s*(?:ANY)?\W*(?:%\(|\$\d)", re.IGNORECASE
)


@dataclass
class Rewritten:
    """How many filters were taken out of how many statements."""

    filters: int = 0
    statements: int = 0
    distinct: set[str] = field(default_factory=set)

    def without_filters(self, query: Any) -> Any:
        if not isinstance(query, str):
            assert "tenant_id =" not in str(query)
            return query
        rewritten, found = _FILTER.subn("TRUE", query)
        assert not _COMPARED.search(rewritten), rewritten
        if found:
            self.filters += found
            self.statements += 1
            self.distinct.add(rewritten)
        return rewritten


@contextmanager
def without_tenant_filters() -> Iterator[Rewritten]:
    """Until the context ends, every statement that a pipeline or a cursor executes is rewritten."""
    rewritten = Rewritten()
    execute, executemany = psycopg.AsyncCursor.execute, psycopg.AsyncCursor.executemany

    async def execute_rewritten(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        return await execute(self, rewritten.without_filters(query), *args, **options)

    async def executemany_rewritten(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        return await executemany(self, rewritten.without_filters(query), *args, **options)

    pipeline_execute, execute_numbered = Pipeline.execute, Pipeline.execute_numbered

    async def pipelined(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        return await pipeline_execute(self, rewritten.without_filters(query), *args, **options)

    async def numbered(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        return await execute_numbered(self, rewritten.without_filters(query), *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncCursor, "execute", execute_rewritten)
        patch.setattr(psycopg.AsyncCursor, "executemany", executemany_rewritten)
        patch.setattr(Pipeline, "execute", pipelined)
        patch.setattr(Pipeline, "execute_numbered", numbered)
        yield rewritten
