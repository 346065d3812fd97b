"""A plain HTTP client of the media API, and what tests wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2

from tests.gateway import Customer, Gateway

FINAL = ("SUCCESS", "FAILURE")
PERIOD = 0.1


class MediaClient:
    """Submits tasks and looks at them with one customer's key."""

    def __init__(self, gateway: Gateway, customer: Customer) -> None:
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
        """The first query for which `until` holds."""
        deadline = time.monotonic() + timeout
        while True:
            task = self.query(task_id, scope=scope)
            if until(task):
                return task
            assert time.monotonic() < deadline, f"not yet: {task}"
            time.sleep(PERIOD)
