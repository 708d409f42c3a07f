"""The life of an assessment as rows: created, claimed, ended, audited, cleaned up; the same on SQLite and PostgreSQL."""
