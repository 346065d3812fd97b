"""Every table of the database, one module an area; `METADATA` is what migrations are checked against."""

from app.db.tables import accounts, catalog, ledger, media, relay, routing, webhooks
from app.db.tables.base import METADATA

__all__ = ["METADATA", "accounts", "catalog", "ledger", "media", "relay", "routing", "webhooks"]
