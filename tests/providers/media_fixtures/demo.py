"""The demo upstream: the unified API beside the base URL of chat, not below it."""

from __future__ import annotations

from app.core.media import Scope, Status
from app.providers.media import Call, CharacterJob, Done, Output, Running, Site
from tests.providers.media_fixtures import (
    KEY,
    Cancels,
    Case,
    Creates,
    Polled,
    Polls,
    Sent,
    Submitted,
    handle,
    job,
    reply,
)

PROVIDERS = ("demo",)
SITE = Site("http://127.0.0.1:8001/v1")

ROOT = "http://127.0.0.1:8001"


def sent(scope: str) -> Call:
    body = {"prompt": "a cat", "model": "upstream-model"}
    return Call("POST", f"{ROOT}/v2/{scope}/generations", json=body, headers={"idempotency-key": KEY})


CASES: tuple[Case, ...] = (
    *(Sent(scope, job(scope=scope), sent(scope.value)) for scope in Scope),
    Submitted("accepted", job(), reply({"task_id": "demo-1"}), Running(Status.SUBMITTED, "demo-1")),
    Polls("by id", handle("demo-1"), Call("GET", f"{ROOT}/v2/videos/generations/demo-1")),
    Polled(
        "made",
        handle("demo-1"),
        reply({"task_id": "demo-1", "status": "SUCCESS", "data": {"output": f"{ROOT}/files/1.mp4"}}),
        Done((Output("video/mp4", url=f"{ROOT}/files/1.mp4", keep=True),)),
    ),
    Cancels("by id", handle("demo-1"), Call("DELETE", f"{ROOT}/v2/videos/generations/demo-1")),
    Creates(
        "from a task",
        CharacterJob("1,3", from_task="demo-1"),
        Call("POST", f"{ROOT}/sora/v1/characters", json={"timestamps": "1,3", "from_task": "demo-1"}),
    ),
)
