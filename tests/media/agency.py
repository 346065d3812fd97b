"""A platform on loopback that makes characters as it is told, and a gateway's operator and customers who have them made."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2

from tests.gateway import Customer, Operator
from tests.webhooks.receiver import Answer, Receiver, reply

MODEL = "sora-characters"
VIDEO = "https://93.184.216.34/cat.mp4"
"""A public address that nobody calls: the upstream would."""

NOBODY = "http://127.0.0.1:9"
SECRET = "upstream-secret-0123456789"
MADE = {
    "id": "ch_upstream",
    "username": "happy.cat42",
    "permalink": "https://example.com/happy.cat42",
    "profile_picture_url": "https://example.com/happy.cat42.png",
}


def made(**changes: Any) -> Answer:
    return reply(200, json.dumps(MADE | changes).encode())


class Platform(Receiver):
    """An upstream that speaks the contract's API: it does what it is told, one answer after the other."""

    @property
    def asked(self) -> list[Any]:
        """What was posted to it since the last look."""
        found = []
        while not self.calls.empty():
            call = self.calls.get()
            assert (call.method, call.path) == ("POST", "/sora/v1/characters")
            assert call.headers["authorization"] == f"Bearer {SECRET}"
            found.append(json.loads(call.body))
        return found


class Agency:
    """One gateway with the model that makes characters, and those who ask for some."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self._http = httpx2.Client(base_url=operator.gateway.url, timeout=30)
        self._channels: list[int] = []
        self._changed = True
        operator.call("PUT", f"/models/{MODEL}", json={"kind": "video", "price": {"per_call": "0.25"}})

    def close(self) -> None:
        self._http.close()
        self.operator.close()

    def channel(self, url: str, provider: str = "unified", *, model: str = MODEL, **fields: Any) -> int:
        """A channel, by default of the model; the first one is tried first."""
        fields = {"provider": provider, "base_url": url, "priority": -len(self._channels)} | fields
        made = self.operator.channel(model, "whatever", **fields)
        self._channels.append(made["id"])
        self._changed = True
        return int(made["id"])

    def clear(self) -> None:
        for channel_id in self._channels:
            self.operator.call("DELETE", f"/channels/{channel_id}")
        self._channels.clear()
        self._changed = True

    def ask(self, customer: Customer, method: str = "POST", path: str = "", **options: Any) -> httpx2.Response:
        return self._http.request(method, f"/sora/v1/characters{path}", headers=customer.headers, **options)

    def make(self, customer: Customer, **body: Any) -> httpx2.Response:
        if self._changed:
            # A model that isn't known has the gateway read its catalogue anew: here it sees the channels as they are.
            path = f"/v1/account/models/none-{uuid4().hex}"
            assert self._http.get(path, headers=customer.headers).status_code == 404
            self._changed = False
        return self.ask(customer, json={"timestamps": "1,3"} | body)

    def submit(self, customer: Customer, body: dict[str, Any]) -> httpx2.Response:
        return self._http.post("/v2/videos/generations", headers=customer.headers, json=body)

    def pinned_to(self, task_id: str) -> int | None:
        async def read() -> Any:
            connection = await asyncpg.connect(self.operator.gateway.database_url)
            found = await connection.fetchval("SELECT pinned_to FROM tasks WHERE id = $1", task_id)
            await connection.close()
            return found

        pinned: int | None = asyncio.run(read())
        return pinned

    def task(self, customer: Customer, channel_id: int, **columns: Any) -> str:
        """A task that has ended, or as `columns` say."""
        task_id = f"sora-2:1-{uuid4().hex[:10]}"
        job = {"scope": columns.get("scope", "videos"), "model": "sora-2", "prompt": "A cat"}
        values = {
            "account_id": customer.account_id, "id": task_id, "key_id": customer.key_id, "source": "v2", "scope": "videos",
            "platform": "openai", "model": "sora-2", "job": json.dumps(job), "units": "{}", "status": "SUCCESS",
            "hold_id": uuid4(), "channel_id": channel_id, "upstream_id": "task-at-upstream",
        } | columns  # fmt: skip
        names = ", ".join(values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))

        async def run() -> None:
            connection = await asyncpg.connect(self.operator.gateway.database_url)
            query = f"INSERT INTO tasks ({names}, deadline_at) VALUES ({places}, now())"
            await connection.execute(query, *values.values())
            await connection.close()

        asyncio.run(run())
        return task_id


def refusal(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> str:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
    return str(error["message"])
