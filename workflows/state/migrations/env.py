"""Alembic's environment: runs on the connection that `upgrade_schema` opened."""

from alembic import context

from workflows.state.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
