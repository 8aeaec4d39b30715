"""The service's tables, step by step, as alembic carries them out."""
