"""`GET /v1/account`: what the caller's key and its account have left, and the limits that they are under."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from app.accounts import store
from app.api.admin.shapes import Dollars, Shape
from app.api.caller import PrincipalDep
from app.api.context import ConnectionDep
from app.api.holder.shapes import REFUSALS, HolderQuery
from app.core.money import write_amount
from app.ledger import wallets
from app.ledger.limits import NO_LIMITS, Limits, account_limits, key_limits

router = APIRouter(tags=["account"], responses=REFUSALS)

_BUDGET_EXAMPLE: dict[str, Any] = {
    "amount": "20",
    "period": "month",
    "spent": "3.5",
    "left": "16.5",
    "resets_at": "2030-02-01T00:00:00Z",
}
_NO_LIMITS: dict[str, Any] = dict.fromkeys(("tpm", "tpm_left", "rpd", "rpd_left", "concurrency"))


class OwnBudget(Shape):
    """Money for each day, week (from Monday) or month of UTC."""

    amount: Dollars
    period: str
    spent: Dollars = Field(description="Charged in this period; what open requests hold isn't in it")
    left: Dollars
    resets_at: datetime


class OwnLimits(Shape):
    """Requests and tokens a minute, requests a day, open requests, money a period; null: no such limit."""

    rpm: int | None
    rpm_left: int | None
    tpm: int | None
    tpm_left: int | None
    rpd: int | None = Field(description="A day is one of UTC")
    rpd_left: int | None
    concurrency: int | None
    budget: OwnBudget | None


class OwnAccount(Shape):
    """The key's account: granted = balance + held + charged."""

    id: int
    name: str
    balance: Dollars
    held: Dollars = Field(description="Set aside for requests that are open")
    charged: Dollars
    granted: Dollars
    limits: OwnLimits


class OwnKey(Shape):
    """The key itself. With a quota: granted = balance + held + charged."""

    id: int
    name: str
    hint: str
    expires_at: datetime | None
    models: list[str] | None = Field(description="null: all")
    balance: Dollars | None = Field(description="What is left of the key's quota; null: bounded by the account alone")
    held: Dollars
    charged: Dollars
    granted: Dollars | None = Field(description="The key's quota; null without one")
    limits: OwnLimits


class Holding(Shape):
    """What the key and its account have, and may do. A request has to fit both."""

    account: OwnAccount
    key: OwnKey

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account": {
                        "id": 1,
                        "name": "Research",
                        "balance": "4.25",
                        "held": "0.25",
                        "charged": "0.5",
                        "granted": "5",
                        "limits": {**_NO_LIMITS, "rpm": None, "rpm_left": None, "budget": _BUDGET_EXAMPLE},
                    },
                    "key": {
                        "id": 1,
                        "name": "Notebook",
                        "hint": "sk-…9f3Q",
                        "expires_at": None,
                        "models": None,
                        "balance": None,
                        "held": "0.25",
                        "charged": "0.5",
                        "granted": None,
                        "limits": {**_NO_LIMITS, "rpm": 60, "rpm_left": 58, "budget": None},
                    },
                }
            ]
        }
    )


@router.get("/v1/account", summary="What is left")
async def get_holding(
    principal: PrincipalDep, query: Annotated[HolderQuery, Query()], connection: ConnectionDep
) -> Holding:
    """The balance and limits of the key that asks, and of its account."""
    account = await store.get_account(connection, principal.account_id)
    key = await store.get_key(connection, principal.key_id)
    account_rules = (await account_limits(connection, [account.id])).get(account.id, NO_LIMITS)
    key_rules = (await key_limits(connection, [(account.id, key.id)])).get(key.id, NO_LIMITS)
    account_money = (await wallets.account_wallets(connection, [account.id]))[account.id].amounts()
    key_money = (await wallets.key_wallets(connection, [key.id]))[key.id].amounts()
    return Holding.model_validate(
        {
            "account": {
                "id": account.id,
                "name": account.name,
                **account_money,
                "limits": _write_limits(account_rules),
            },
            "key": {
                "id": key.id,
                "name": key.name,
                "hint": key.hint,
                "expires_at": key.expires_at,
                "models": key.models,
                **key_money,
                "limits": _write_limits(key_rules),
            },
        }
    )


def _write_limits(limits: Limits) -> OwnLimits:
    if limits.shadow:  # the operator is trying them out: they restrict nobody
        limits = NO_LIMITS
    return OwnLimits(
        rpm=limits.rpm,
        rpm_left=limits.rpm_left,
        tpm=limits.tpm,
        tpm_left=limits.tpm_left,
        rpd=limits.rpd,
        rpd_left=limits.rpd_left,
        concurrency=limits.concurrency,
        budget=_write_budget(limits),
    )


def _write_budget(limits: Limits) -> OwnBudget | None:
    if limits.budget is None:
        return None
    assert limits.budget_period is not None
    assert limits.spent is not None
    assert limits.budget_left is not None
    assert limits.period_end is not None
    return OwnBudget(
        amount=write_amount(limits.budget),
        period=limits.budget_period,
        spent=write_amount(limits.spent),
        left=write_amount(limits.budget_left),
        resets_at=limits.period_end,
    )
