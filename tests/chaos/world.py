"""Where chaos happens: two gateways on one database, three channels for one model, and an operator who looks after them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.chaos.crowd import Outcome
from tests.chaos.dialects import Verdict
from tests.chaos.faults import Fault
from tests.chaos.vitals import Vitals, read_vitals
from tests.chaos.weather import Upstreams
from tests.gateway import Customer, Gateway, Operator

CHANNELS = 3
ACCOUNTS = 3
NOWHERE = "https://does-not-exist.invalid/v1"
UPSTREAM_KEY = "upstream-secret-0123456789"
"""A name that no DNS may ever know (RFC 6761)."""

REFUSALS = frozenset({"auth", "payment", "quota"})
"""What only an operator can mend: afterwards they say so."""

OPTIONS = {"connect_timeout": 0.5, "first_byte_timeout": 1.0, "idle_timeout": 1.0}
UPSTREAM_MODEL = "demo?echo=1&chunk_ms=2&delay_ms=50"
"""As models do, it takes longer to begin than a TLS handshake: else whoever's connections are cold would look slow."""


@dataclass(frozen=True, slots=True)
class World:
    """`channels`: their ids, in the order of the fronts that they lead to; `names`: the same channels'."""

    gateways: Sequence[Gateway]
    upstreams: Upstreams
    operator: Operator
    channels: Sequence[int]
    names: Sequence[str]
    model: str
    customers: Sequence[Customer]

    async def become(self, front: int, before: Sequence[Fault], after: Sequence[Fault]) -> None:
        """Changes one upstream's weather, as a vendor would, and does what an operator would then."""
        await asyncio.to_thread(self.upstreams.become, front, *after)
        if _kinds(before) & REFUSALS and not _kinds(after) & REFUSALS:
            path = f"/channels/{self.channels[front]}/outages"
            await asyncio.to_thread(self.operator.call, "DELETE", path)

    async def resolve(self, front: int, *, known: bool) -> None:
        """Whether DNS knows the name of a channel's upstream."""
        url = self.upstreams.url(front) if known else NOWHERE
        path = f"/channels/{self.channels[front]}"
        await asyncio.to_thread(self.operator.call, "PATCH", path, json={"base_url": url, "api_key": UPSTREAM_KEY})

    def outages(self, front: int, replica: int = 0) -> list[dict[str, Any]]:
        """What is out at a channel, as one of the gateways tells it."""
        with self.gateways[replica].admin() as admin:
            answer = admin.get("/outages", params={"channel_id": self.channels[front]}).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    def vitals(self) -> list[Vitals]:
        return [read_vitals(gateway) for gateway in self.gateways]

    def entries(self, outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
        """The entries of all customers by request id, once every hold has ended."""
        found = [entry for customer in self.customers for entry in self.operator.entries(customer)]
        asked = {outcome.request_id for outcome in outcomes}
        return {entry["request_id"]: entry for entry in found if entry["request_id"] in asked}


def set_up(gateways: Sequence[Gateway], upstreams: Upstreams, operator: Operator) -> World:
    """Channels of one priority for a model of its own."""
    model = operator.model()
    channels = [
        operator.channel(model, UPSTREAM_MODEL, base_url=upstreams.url(front), options=OPTIONS)
        for front in range(CHANNELS)
    ]
    ids, names = [channel["id"] for channel in channels], [channel["name"] for channel in channels]
    customers = [operator.customer() for _ in range(ACCOUNTS)]
    return World(gateways, upstreams, operator, ids, names, model, customers)


def check_ledger(world: World, outcomes: Sequence[Outcome], entries: dict[str, dict[str, Any]]) -> None:
    """Every request has the entry that fits what its client saw, and the books are exact."""
    for outcome in outcomes:
        entry = entries.get(outcome.request_id)
        charged = Decimal(0 if entry is None else entry["charged"])
        match outcome.verdict:
            case Verdict.RIGHT:
                assert entry is not None, outcome
                usage = entry["usage"]
                assert (entry["status"], entry["error"], entry["estimated"]) == ("settled", None, False), entry
                assert charged == Decimal(usage["input_tokens"] + 2 * usage["output_tokens"]) / 1_000_000, entry
            case Verdict.ERROR:
                assert charged == 0, entry
                assert entry is None or entry["status"] == "released", entry
            case Verdict.BROKEN:
                assert entry is not None, outcome
                assert entry["status"] == "settled", entry
                assert entry["error"] == outcome.detail, (entry, outcome)
            case Verdict.WRONG:
                raise AssertionError(outcome)
    for customer in world.customers:
        account = world.operator.account(customer)
        mine = [entry for entry in entries.values() if entry["account_id"] == customer.account_id]
        assert Decimal(account["charged"]) == sum(Decimal(entry["charged"]) for entry in mine)
    audit = world.operator.audit()
    assert (audit["ok"], audit["open_holds"], audit["drift_nano"]) == (True, 0, 0), audit


def _kinds(faults: Sequence[Fault]) -> set[str]:
    return {fault.kind for fault in faults}
