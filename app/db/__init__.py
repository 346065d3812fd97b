"""PostgreSQL: where it comes from, how it is migrated, its tables, and news of what changed in it."""
