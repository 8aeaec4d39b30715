"""The tables' history, which alembic carries out (`converter.jobs.database.migrate`)."""
