"""What the tools of servers were at their last deep scan."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "assessments_0003"
down_revision = "assessments_0002"
branch_labels = None
depends_on = None

TABLE: Final = "assessment_tools"


def upgrade() -> None:
    # A deep scan by hand makes this very table where no migration has been, and what it remembers is worth keeping.
    op.create_table(
        TABLE,
        sa.Column("server_key", sa.Text(), nullable=False),
        sa.Column("assessment_id", sa.Text(), nullable=False),
        sa.Column("definitions", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text()),
        sa.PrimaryKeyConstraint("server_key", name="pk_assessment_tools"),
        if_not_exists=True,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX IF EXISTS assessment_tools_pkey RENAME TO pk_assessment_tools")
        op.drop_table_comment(TABLE)


def downgrade() -> None:
    op.drop_table(TABLE)
