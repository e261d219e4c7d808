"""Run by alembic, never imported: hybridnas.store.schema hands it the connection."""

from alembic import context

from hybridnas.store.schema import migration_options

context.configure(connection=context.config.attributes["connection"], **migration_options())
with context.begin_transaction():
    context.run_migrations()
