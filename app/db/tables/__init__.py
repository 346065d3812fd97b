"""Every table of the database, one module an area; `METADATA` is what migrations are checked against."""

from app.db.tables import accounts, admin, catalog, ledger, media, relay, routing, webhooks
from app.db.tables.base import METADATA

__all__ = ["METADATA", "accounts", "admin", "catalog", "ledger", "media", "relay", "routing", "webhooks"]
