"""What a media request says beside its body: its id, its idempotency key, and which task it means."""

from __future__ import annotations

import re
from uuid import UUID

from fastapi import Request

from app.accounts.principals import Principal
from app.core.media import Scope
from app.errors import GatewayError, Kind, invalid_request
from app.media.task import Task
from app.services import Services

IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_IDEMPOTENCY_KEY = 255

_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
_TASK_ID = re.compile(r"[A-Za-z0-9_:-]{1,256}")


def request_id_of(request: Request) -> UUID:
    """The id that the response's `x-request-id` shows, and that the task's entry will carry."""
    label: str = request.scope["relaygate.request_id"]
    return UUID(label.removeprefix("req_"))


def idempotency_key_of(request: Request) -> str | None:
    """Raises GatewayError 400 for a header that stands twice, or isn't 1 to 255 printable ASCII characters."""
    values = request.headers.getlist(IDEMPOTENCY_KEY)
    if not values:
        return None
    if len(values) > 1:
        raise invalid_request(f"{IDEMPOTENCY_KEY}: stands twice.", IDEMPOTENCY_KEY)
    key = values[0]
    if len(key) > MAX_IDEMPOTENCY_KEY or _KEY.fullmatch(key) is None:
        message = f"{IDEMPOTENCY_KEY}: must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."
        raise invalid_request(message, IDEMPOTENCY_KEY)
    return key


async def find_task(services: Services, principal: Principal, scope: Scope, task_id: str) -> Task:
    """The account's task. Raises GatewayError 404: another account's, another scope's and no task at all look the same."""
    if _TASK_ID.fullmatch(task_id) is None:
        raise no_such_task(task_id)
    return await services.desk.get(principal, task_id, scope)


def no_such_task(task_id: str) -> GatewayError:
    """The 404 for what can't be a task's id: the same as for one that nobody has."""
    return GatewayError(Kind.NOT_FOUND, "task_not_found", f"There is no task '{task_id[:200]}'.", param="task_id")
