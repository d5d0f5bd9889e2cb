"""Runs the migrations on the connection that `store.migrating` gives: nobody else migrates, and a transaction is open."""

from alembic import context

from callboard.actors.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction spans all revisions: all of them are kept, or none
)
context.run_migrations()
