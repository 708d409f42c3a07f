"""What a database says about its own schema: every table, column, constraint, index and view, by name and definition."""

from __future__ import annotations

import sqlalchemy as sa

from autocoder.database import Database

POSTGRES = """
SELECT 'column', table_name || '.' || column_name,
       concat_ws(' ', data_type, is_nullable, column_default, ordinal_position, character_maximum_length)
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
"""


async def catalog(database: Database) -> dict[str, str]:
    """Definitions by kind and name."""
    query = (
        POSTGRES
        if not database.is_sqlite
        else "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    )
    async with database.reading() as connection:
        rows = await connection.execute(sa.text(query))
        return {f"{kind} {name}": " ".join(text.split()) for kind, name, text in rows}
