"""Components that read and write database tables: SQLite and PostgreSQL, by the same code."""

from autocoder_components.sql.engine import DatabaseError
from autocoder_components.sql.insert import Insert
from autocoder_components.sql.select import Select

__all__ = ["DatabaseError", "Insert", "Select"]
