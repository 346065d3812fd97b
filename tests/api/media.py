"""What tests of the media APIs share: a client, models that the demo upstream serves, and waiting for a task."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any
from uuid import uuid4

import httpx2

from tests.gateway import Customer, Operator

FINAL = ("SUCCESS", "FAILURE")


def media_model(
    operator: Operator, options: str = "polls=1", *, scope: str = "videos", public: bool = False, **fields: Any
) -> str:
    """A new model that the demo upstream serves; `options` script what becomes of its jobs. `public`: results stay there."""
    name = str(fields.pop("name", f"m-{uuid4().hex[:12]}"))
    price = fields.pop("price", {"per_call": "0.1"})
    kind = {"videos": "video", "images": "image", "audio": "audio"}[scope]
    operator.call("PUT", f"/models/{name}", json={"kind": kind, "price": price, **fields})
    upstream_model = f"demo-{kind}?{options}" if options else f"demo-{kind}"
    if public:
        operator.channel(name, upstream_model, provider="unified", base_url=operator.demo_url)
    else:
        operator.channel(name, upstream_model, provider="demo")
    return name


class MediaClient:
    """One customer of the unified API."""

    def __init__(self, http: httpx2.Client, customer: Customer) -> None:
        self._http = http
        self.customer = customer

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {**self.customer.headers, **options.pop("headers", {})}
        return self._http.request(method, path, headers=headers, **options)

    def submit(self, model: str, scope: str = "videos", **fields: Any) -> str:
        """A task that has to be accepted; returns its id."""
        response = self.call("POST", f"/v2/{scope}/generations", json={"prompt": "a cat", "model": model, **fields})
        assert response.status_code == 200, response.text
        assert set(response.json()) == {"task_id"}
        return str(response.json()["task_id"])

    def query(self, task_id: str, scope: str = "videos") -> dict[str, Any]:
        response = self.call("GET", f"/v2/{scope}/generations/{task_id}")
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def wait(
        self, task_id: str, scope: str = "videos", *, until: Collection[str] = FINAL, timeout: float = 20.0
    ) -> dict[str, Any]:
        """The query's body once the task has one of these statuses."""
        deadline = time.monotonic() + timeout
        while (body := self.query(task_id, scope))["status"] not in until:
            assert body["status"] not in FINAL, body
            assert time.monotonic() < deadline, body
            time.sleep(0.05)
        return body
