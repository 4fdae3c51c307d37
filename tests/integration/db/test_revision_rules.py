"""Revisions build indexes on tables that have rows concurrently, in revisions of their own."""

import pytest

from tests.conftest import ROOT
from tests.integration.db.revision_rules import offences

LAST_RELEASED = 9  # up to this one, there were no such rules
FILES = sorted((ROOT / "migrations" / "versions").glob("*.py"))
LATER = [file for file in FILES if int(file.name.partition("_")[0]) > LAST_RELEASED]

GOOD = {
    "an index, concurrently": (
        'indexes.create_index_concurrently("i", "runs", ["tenant_id", sa.text("name DESC")])'
    ),
    "several": (
        'create_index_concurrently("i", "runs", ["a"])\n'
        '    create_index_concurrently("j", "runs", ["b"])'
    ),
    "an index on a new table": (
        'op.create_table("new", sa.Column("a", sa.Text(), unique=True))\n'
        '    op.create_index("new_idx", "new", ["a"])'
    ),
    "a column": 'op.add_column("runs", sa.Column("a", sa.Text()))',
    "words": '"""Add a unique name, and create an index."""',
    "a longer timeout": "op.execute(\"SET LOCAL statement_timeout = '60s'\")",
}
BAD = {
    "an index": 'op.create_index("i", "runs", ["tenant_id", "name"])',
    "an index on a table of some name": "op.create_index(name, table, columns)",
    "an index, by name": 'op.create_index(index_name="i", table_name="runs", columns=["name"])',
    "an index beside a new table": (
        'op.create_table("new", sa.Column("a", sa.Text()))\n'
        '    op.create_index("i", "runs", ["name"])'
    ),
    "a unique constraint": 'op.create_unique_constraint("u", "runs", ["tenant_id", "name"])',
    "a primary key": 'op.create_primary_key("p", "metric_points", ["tenant_id"])',
    "a column with an index": 'op.add_column("runs", sa.Column("a", sa.Text(), index=True))',
    "SQL": 'op.execute("CREATE UNIQUE  INDEX i ON runs (name)")',
    "SQL without the helper": 'op.execute("CREATE INDEX CONCURRENTLY i ON runs (name)")',
    "SQL with a name filled in": 'op.execute(f"CREATE INDEX {name} ON runs (name)")',
    "SQL of a constraint": 'op.execute("ALTER TABLE runs ADD CONSTRAINT u UNIQUE (name)")',
    "an index and more": (
        'indexes.create_index_concurrently("i", "runs", ["a"])\n'
        '    op.add_column("runs", sa.Column("b", sa.Text()))'
    ),
    "a timeout that stays": "op.execute(\"SET statement_timeout = '60s'\")",
}


def revision(upgrade: str) -> str:
    return f"def upgrade() -> None:\n    {upgrade}\n\n\ndef downgrade() -> None:\n    pass\n"


def test_the_revisions_that_there_are() -> None:
    found = {file.name: offences(file.read_text()) for file in LATER}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("upgrade", GOOD.values(), ids=GOOD)
def test_allows(upgrade: str) -> None:
    assert offences(revision(upgrade)) == []


@pytest.mark.parametrize("upgrade", BAD.values(), ids=BAD)
def test_finds(upgrade: str) -> None:
    (found,) = offences(revision(upgrade))
    assert found.startswith(("line 2: ", "line 3: "))


def test_finds_those_of_the_revisions_before() -> None:
    """0004 and 0007 index tables that had rows; the others only new ones."""
    found = {file.name[:4] for file in FILES if file not in LATER and offences(file.read_text())}
    assert found == {"0004", "0007"}
