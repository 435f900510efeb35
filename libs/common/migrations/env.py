"""Alembic's entry: migrate the schema of the connection that libs.common.schemas hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
