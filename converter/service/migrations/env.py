"""What alembic runs: the migrations in the connection, and the transaction, that it is handed."""

from alembic import context

from converter.service.tables import METADATA

given = context.config.attributes
context.configure(
    connection=given["connection"],
    target_metadata=METADATA,
    version_table=given["version_table"],
)
context.run_migrations()
