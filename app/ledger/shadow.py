"""What limits in shadow let pass that they would have refused: logged, and counted for the metrics."""

from __future__ import annotations

from uuid import UUID

import orjson
from prometheus_client import CollectorRegistry, Counter

from app.core.ids import request_label
from app.logs import get_log

log = get_log("relaygate.limits")


class ShadowRefusals:
    """Takes note of them, one for each row of limits that would have refused; what clients get says nothing of it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._count = Counter(
            "relaygate_shadow_refusals", "Requests let in that a limit in shadow would have refused.",
            ("limit",), registry=registry,
        )  # fmt: skip

    def note(self, standing: str | None, request_id: UUID, account_id: int, key_id: int) -> None:
        """`standing` is what the ledger said of a hold that it granted."""
        if standing is None or '"shadow"' not in standing:
            return
        for why in orjson.loads(standing)["shadow"]:
            log.info(
                "limit_would_refuse",
                request_id=request_label(request_id),
                account_id=account_id,
                key_id=key_id,
                scope=why["scope"],
                limit=why["limit"],
            )
            self._count.labels(why["limit"]).inc()
