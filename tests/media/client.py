"""A plain HTTP client of the media API, what tests wait for, and a clock of tasks that they move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx2

from tests.gateway import Customer, Gateway

FINAL = ("SUCCESS", "FAILURE")
PERIOD = 0.1

# What is under way, or waits for an operator, isn't touched.
_HURRY = """
UPDATE tasks SET due_at = now() WHERE id = $1 AND step IN ('submit', 'sending', 'poll')
    AND due_at > now() + interval '0.2 seconds' AND (claimed_until IS NULL OR claimed_until <= now())
"""
_EXPIRE = "UPDATE tasks SET deadline_at = now(), due_at = now() WHERE id = $1"


class MediaClient:
    """Submits tasks and looks at them with one customer's key."""

    def __init__(self, gateway: Gateway, customer: Customer) -> None:
        self._database_url = gateway.database_url
        self.http = httpx2.Client(base_url=gateway.url, headers=customer.headers, timeout=30)

    def close(self) -> None:
        self.http.close()

    def submit(self, model: str, *, scope: str = "videos", headers: dict[str, str] | None = None, **fields: Any) -> str:
        """The id of a new task, which has to be accepted."""
        body = {"model": model, "prompt": "A cat", **fields}
        answer = self.http.post(f"/v2/{scope}/generations", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"task_id"}
        task_id: str = answer.json()["task_id"]
        return task_id

    def query(self, task_id: str, *, scope: str = "videos") -> dict[str, Any]:
        answer = self.http.get(f"/v2/{scope}/generations/{task_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait(
        self,
        task_id: str,
        *,
        scope: str = "videos",
        until: Callable[[dict[str, Any]], bool] = lambda task: task["status"] in FINAL,
        timeout: float = 30.0,
    ) -> dict[str, Any]:
        """The first query for which `until` holds. The pauses that a worker makes meanwhile are over at once."""
        deadline = time.monotonic() + timeout
        while True:
            task = self.query(task_id, scope=scope)
            if until(task):
                return task
            assert time.monotonic() < deadline, f"not yet: {task}"
            self._move_clock(_HURRY, task_id)
            time.sleep(PERIOD)

    def expire(self, task_id: str) -> None:
        """The time is over that the task's model is given."""
        self._move_clock(_EXPIRE, task_id)

    def _move_clock(self, query: str, task_id: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._database_url)
            if await connection.execute(query, task_id) != "UPDATE 0":
                await connection.execute("SELECT pg_notify('relaygate', 'task')")
            await connection.close()

        # In a thread: tests with a running loop wait too.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, run()).result()
