"""Who does an assessment while an older event system is moved from."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "assessments_0002"
down_revision = "assessments_0001"
branch_labels = None
depends_on = None

TABLE: Final = "assessment_routes"
INSTANT: Final = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
JSON_TEXT: Final = sa.Text().with_variant(postgresql.JSON(), "postgresql")


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("assessment_id", sa.Text(), nullable=False),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("compared", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("decided_at", INSTANT, nullable=False),
        sa.Column("decision", JSON_TEXT),
        sa.Column("comparison", JSON_TEXT),
        sa.PrimaryKeyConstraint("assessment_id", name="pk_assessment_routes"),
        _check("assessment_id", "length(assessment_id) BETWEEN 1 AND 255"),
        _check("home", "home IN ('store', 'legacy')"),
        _check("comparison", "comparison IS NULL OR compared"),
        _check("decision_json", "decision IS NULL OR json_valid(decision)").ddl_if(dialect="sqlite"),
        _check("comparison_json", "comparison IS NULL OR json_valid(comparison)").ddl_if(dialect="sqlite"),
    )
    op.create_index("ix_assessment_routes_decided", TABLE, ["decided_at"])
    waiting = sa.text("compared AND comparison IS NULL")
    op.create_index(
        "ix_assessment_routes_uncompared",
        TABLE,
        ["assessment_id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def downgrade() -> None:
    op.drop_table(TABLE)


def _check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{TABLE}_{name}"))
