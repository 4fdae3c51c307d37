"""${message}

Revises: ${down_revision | comma,n}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

# A revision is one transaction beside running servers. It waits 4 s for each lock, and each of its
# statements may take 5 s; one that needs longer comes after, for example,
#     op.execute("SET LOCAL statement_timeout = '60s'")
# An index on a table that has rows already is built by
#     app.db.indexes.create_index_concurrently("name", "table", ["tenant_id", "column"])
# in a revision that does nothing else. docs/operations.md, "Migrations", says more.


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
