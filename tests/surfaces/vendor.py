"""A vendor with one answer, models that it serves at a price, and what calls of them came to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2

from tests.gateway import Customer, Operator
from tests.providers.recorder import Recorder, Request
from tests.relay.calls import UPSTREAM_SECRET, wait_until_served

UPSTREAM_MODEL = "vendor-model"


@dataclass(slots=True)
class Vendor:
    """`recorder` is the vendor; `http` calls the gateway."""

    operator: Operator
    recorder: Recorder
    http: httpx2.Client

    @classmethod
    @contextmanager
    def open(cls, operator: Operator, recorder: Recorder) -> Iterator[Vendor]:
        with httpx2.Client(base_url=operator.gateway.url, timeout=15.0) as http:
            yield cls(operator, recorder, http)

    def reset(self) -> None:
        self.recorder.requests.clear()
        self.recorder.status, self.recorder.cut = 200, False
        self.answers({})

    def answers(self, body: object, content_type: str = "application/json") -> None:
        """What it says from now on: bytes as they are, anything else as JSON."""
        self.recorder.answer = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.recorder.content_type = content_type

    def streams(self, *events: Mapping[str, Any] | str, named: bool = True) -> None:
        """Server-sent events from now on; a text stands as it is."""
        frames = ""
        for event in events:
            data = event if isinstance(event, str) else json.dumps(event)
            name = f"event: {event['type']}\n" if named and not isinstance(event, str) else ""
            frames += f"{name}data: {data}\n\n"
        self.answers(frames.encode(), "text/event-stream")

    def model(self, kind: str, price: Mapping[str, Any] | None, provider: str = "openai", **fields: Any) -> str:
        """A new model of this vendor's. `price` None: it is free."""
        name = f"{kind}-{uuid4().hex[:12]}"
        priced = {"free": True} if price is None else {"price": price}
        self.operator.call("PUT", f"/models/{name}", json={"kind": kind, **priced, **fields})
        root = self.recorder.url + ("" if provider in ("gemini", "cohere") else "/v1")
        self.operator.channel(name, UPSTREAM_MODEL, provider=provider, base_url=root, api_key=UPSTREAM_SECRET)
        wait_until_served(self.operator, name)
        return name

    def received(self) -> Request:
        """The one request that came."""
        (request,) = self.recorder.requests
        return request

    def entry(self, customer: Customer) -> dict[str, Any]:
        """The customer's one entry."""
        (entry,) = self.operator.entries(customer, count=1)
        return entry


def charged(entry: Mapping[str, Any]) -> Decimal:
    """What a settled entry came to, in dollars."""
    assert entry["status"] == "settled", entry
    return Decimal(entry["charged"])
