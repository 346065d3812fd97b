"""The `notify` field of an account: where its holder is told that the quota runs low."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.admin.shapes import Amount, Dollars, Shape, absent, refuse, refused
from app.core.money import write_amount
from app.egress.client import Egress
from app.egress.guard import MAX_URL, UrlRefused
from app.services import Services
from app.webhooks.send import MAX_SECRET
from app.webhooks.sign import key_of
from app.webhooks.store import OVERLAP_HOURS, Changes, Webhook, WebhookIncomplete, remove_webhook, set_webhook

MAX_THRESHOLDS = 10
MAX_OVERLAP_HOURS = 168

_SECRET = re.compile(r"[!-~]([ -~]*[!-~])?")


def _check_secret(value: str) -> str:
    # It goes into a header as it stands.
    if _SECRET.fullmatch(value) is None:
        refuse("must be printable ASCII characters, without a space at either end")
    try:
        key_of(value)
    except ValueError as error:
        refuse(str(error))
    return value


def _check_positive(value: int) -> int:
    if value == 0:
        refuse("the amount must not be zero: nothing is below it")
    return value


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL,
        description="https:// or http://, to a public address or one that RELAYGATE_ALLOWED_PRIVATE_NETWORKS holds",
        examples=["https://example.com/hooks/quota"],
    ),
]
Secret = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SECRET,
        description="Sent as a bearer, and signed with; after `whsec_` base64 (Standard Webhooks). Never returned",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    ),
    AfterValidator(_check_secret),
]
Threshold = Annotated[Amount, AfterValidator(_check_positive)]
Thresholds = Annotated[list[Threshold], Field(min_length=1, max_length=MAX_THRESHOLDS)]


NOTIFY_EXAMPLE: dict[str, Any] = {
    "webhook_url": "https://example.com/hooks/quota",
    "webhook_secret_set": True,
    "previous_secret_until": None,
    "threshold": "0.5",
    "thresholds": ["0.5"],
}


class NotifyChanges(Shape):
    """What is given is set; an account that has no webhook yet needs a URL, a secret and a threshold."""

    webhook_url: Url = absent()
    webhook_secret: Secret = absent()
    threshold: Threshold = absent()
    thresholds: Thresholds = absent()
    overlap_hours: int = Field(
        OVERLAP_HOURS,
        strict=True,
        ge=0,
        le=MAX_OVERLAP_HOURS,
        description="For how long a secret that is replaced goes on signing beside the new one",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"webhook_url": "https://example.com/hooks/quota", "webhook_secret": "s3cret", "threshold": "0.5"}
            ]
        }
    )


class NotifyBody(Shape):
    """An account's webhook, without its secret."""

    webhook_url: str
    webhook_secret_set: bool
    previous_secret_until: datetime | None = Field(description="Until then the replaced secret signs too")
    threshold: Dollars | None = Field(description="The highest of `thresholds`")
    thresholds: list[Dollars]

    model_config = ConfigDict(json_schema_extra={"examples": [NOTIFY_EXAMPLE]})


async def check_notify(egress: Egress, body: NotifyChanges | None) -> None:
    """Raises GatewayError 422 naming the field. It looks up a name: hold no connection of the pool meanwhile."""
    if body is None:
        return
    if {"threshold", "thresholds"} <= body.model_fields_set:
        raise refused("notify.thresholds", "give either threshold or thresholds")
    if "overlap_hours" in body.model_fields_set and "webhook_secret" not in body.model_fields_set:
        raise refused("notify.overlap_hours", "belongs to a new webhook_secret")
    if "webhook_url" in body.model_fields_set:
        try:
            await egress.check(body.webhook_url)
        except UrlRefused as error:
            raise refused("notify.webhook_url", str(error)) from error


async def save_notify(
    connection: AsyncConnection, services: Services, account_id: int, body: NotifyChanges | None
) -> None:
    """Sets what is given, or with None removes the webhook. Raises GatewayError 422 naming a part that is missing."""
    if body is None:
        await remove_webhook(connection, account_id)
        return
    thresholds: Sequence[int] | None = body.thresholds
    if "threshold" in body.model_fields_set:
        thresholds = [body.threshold]
    changes = Changes(body.webhook_url, body.webhook_secret, thresholds, body.overlap_hours)
    try:
        await set_webhook(connection, services.vault, account_id, changes)
    except WebhookIncomplete as error:
        raise refused(f"notify.{error.field}", "is needed: the account has no webhook yet") from error


def write_notify(webhook: Webhook | None) -> NotifyBody | None:
    """As it is answered."""
    if webhook is None:
        return None
    thresholds = [write_amount(threshold) for threshold in webhook.thresholds]
    return NotifyBody(
        webhook_url=webhook.url,
        webhook_secret_set=True,
        previous_secret_until=webhook.previous_until,
        threshold=thresholds[0],
        thresholds=thresholds,
    )
