"""The limit fields that accounts and keys share: how they are given, changed and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from app.api.admin.shapes import Amount, Count, Dollars, Shape, absent
from app.core.money import write_amount
from app.ledger.limits import Limits

Period = Literal["day", "week", "month"]


class Budget(Shape):
    """What may be spent in a stretch of time. Days, weeks (from Monday) and months are those of UTC."""

    amount: Amount
    period: Period

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount": "25", "period": "month"}]})


class BudgetBody(Shape):
    """A budget, and how far it is used up."""

    amount: Dollars
    period: Period
    spent: Dollars
    period_start: datetime


RPM = Annotated[Count | None, Field(exclude=True, description="Requests in any 60 seconds; null: no limit")]
TPM = Annotated[
    Count | None,
    Field(
        exclude=True,
        description="Tokens in any 60 seconds: the input and the output cap a request names, then what it used",
    ),
]
RPD = Annotated[Count | None, Field(exclude=True, description="Requests a day of UTC; null: no limit")]
Concurrency = Annotated[Count | None, Field(exclude=True, description="Requests at the same time; null: no limit")]
BudgetField = Annotated[Budget | None, Field(exclude=True, description="Dollars a day, week or month; null: no budget")]
Shadow = Annotated[
    bool,
    Field(
        exclude=True,
        description="Only tried out: these limits and the budget are counted, and refuse nothing; what they would have "
        "refused is logged",
    ),
]


class LimitFields(Shape):
    """Limits of something new; absent or null: none."""

    rpm: RPM = None
    tpm: TPM = None
    rpd: RPD = None
    concurrency: Concurrency = None
    budget: BudgetField = None
    shadow: Shadow = False


class LimitChanges(Shape):
    """Limits that are changed; null takes one away. What was counted so far stays counted."""

    rpm: RPM = absent()
    tpm: TPM = absent()
    rpd: RPD = absent()
    concurrency: Concurrency = absent()
    budget: BudgetField = absent()
    shadow: Shadow = absent()


class LimitBody(Shape):
    """Limits as they are; null: none."""

    rpm: int | None
    tpm: int | None
    rpd: int | None
    concurrency: int | None
    budget: BudgetBody | None
    shadow: bool


NAMES = tuple(LimitFields.model_fields)
LIMITS_EXAMPLE: dict[str, Any] = {
    "rpm": 60,
    "tpm": None,
    "rpd": None,
    "concurrency": 8,
    "budget": {"amount": "25", "period": "month", "spent": "3.5", "period_start": "2030-01-01T00:00:00Z"},
    "shadow": False,
}


def read_limits(body: LimitFields | LimitChanges) -> dict[str, Any]:
    """The limits that a body gives, as columns. They are no part of its `model_dump`: they don't stand with the rest."""
    given = {name: getattr(body, name) for name in NAMES if name in body.model_fields_set}
    if "budget" in given:
        budget = given["budget"]
        given["budget"] = None if budget is None else budget.amount
        given["budget_period"] = None if budget is None else budget.period
    return given


def write_limits(limits: Limits) -> dict[str, Any]:
    """The limits as fields of an answer."""
    budget = None
    if limits.budget is not None:
        budget = {
            "amount": write_amount(limits.budget),
            "period": limits.budget_period,
            "spent": write_amount(limits.spent or 0),
            "period_start": limits.period_start,
        }
    return {
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "rpd": limits.rpd,
        "concurrency": limits.concurrency,
        "budget": budget,
        "shadow": limits.shadow,
    }
