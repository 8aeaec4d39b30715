"""What alembic runs: the migrations in the connection, and the transaction, that it is handed."""

from alembic import context

from converter.jobs.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
