"""`/admin/v1/audit`: the ledger recomputed from its rows."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from app.api.admin.guard import admin_router
from app.api.admin.shapes import Dollars, Shape
from app.api.context import ServicesDep
from app.core.money import write_amount
from app.ledger.audit import Audit, audit

router = admin_router("/audit", "audit", "usage")


class Drift(Shape):
    """Counters that differ from the rows they stand for; `real_*` is what the rows say."""

    account_id: int
    key_id: int | None = None
    granted: Dollars | None
    balance: Dollars | None
    held: Dollars
    charged: Dollars
    real_granted: Dollars | None = None
    real_held: Dollars
    real_charged: Dollars


class AuditBody(Shape):
    """For every account and key: granted = balance + held + charged, each recomputed."""

    ok: bool
    drift_nano: int = Field(description="The sum of all differences, in nano-dollars")
    open_holds: int
    held: Dollars
    charged: Dollars
    uncollected: Dollars
    entries: int
    accounts: int
    keys: int
    doubled: int = Field(description="Holds that are open though they have an entry")
    stray_tasks: int = Field(description="Open media tasks without a hold, and holds of tasks that aren't open")
    drifts: list[Drift]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ok": True,
                    "drift_nano": 0,
                    "open_holds": 2,
                    "held": "0.5",
                    "charged": "12.75",
                    "uncollected": "0",
                    "entries": 3120,
                    "accounts": 4,
                    "keys": 9,
                    "doubled": 0,
                    "stray_tasks": 0,
                    "drifts": [],
                }
            ]
        }
    )


@router.get("", summary="Audit the ledger")
async def audit_ledger(services: ServicesDep) -> AuditBody:
    """Recomputes every counter in one snapshot; safe beside live traffic. Anything but `ok: true` is a defect."""
    return write_audit(await audit(services.database.engine))


def write_audit(found: Audit) -> AuditBody:
    """Amounts as decimal strings."""
    return AuditBody(
        ok=found.ok,
        drift_nano=found.drift_nano,
        open_holds=found.open_holds,
        held=write_amount(found.held_nano),
        charged=write_amount(found.charged_nano),
        uncollected=write_amount(found.uncollected_nano),
        entries=found.entries,
        accounts=found.accounts,
        keys=found.keys,
        doubled=found.doubled,
        stray_tasks=found.stray_tasks,
        drifts=[
            Drift(
                **{
                    name: value if name.endswith("_id") or value is None else write_amount(value)
                    for name, value in row.items()
                }
            )
            for row in found.drifts
        ],
    )
