"""Hold Alembic's environment for the store's schema."""
