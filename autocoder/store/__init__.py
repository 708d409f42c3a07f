"""The store: one definition of the tables, one transaction for each epoch, on SQLite and PostgreSQL alike."""
