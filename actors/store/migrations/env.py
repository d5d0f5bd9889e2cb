"""Runs the migrations on the connection that `store.migrating` gives: it holds the writers' turn and the transaction."""

from alembic import context

from callboard.actors.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's BEGIN IMMEDIATE spans all revisions: all of them are kept, or none
)
context.run_migrations()
