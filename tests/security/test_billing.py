"""Inventory: whatever costs an upstream work is paid for, through whichever door; a new door has to be classed here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.formats import by_name
from app.providers.base import OPENAI_OBJECTS
from app.surfaces import SURFACES
from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator

MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": MESSAGES},
    "openai_responses": {"input": "Hi"},
    "anthropic_messages": {"max_tokens": 5, "messages": MESSAGES},
    "gemini_generate": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
"""A request of each format, but for the model."""

METHODS = ("generateContent", "streamGenerateContent")
MEDIA: dict[str, tuple[str, str, dict[str, Any]]] = {
    "/v2/videos/generations": ("video", "unified", {"prompt": "A cat", "duration": 1}),
    "/v2/images/generations": ("image", "unified", {"prompt": "A cat"}),
    "/v2/audio/generations": ("audio", "unified", {"prompt": "A cat"}),
    "/v1/videos": ("video", "openai_videos", {"prompt": "A cat", "seconds": "4"}),
}
"""Kind, provider and request of each path that begins a task."""

ELSEWHERE = {
    "/sora/v1/characters": "tests/media/test_characters.py::test_without_money_nobody_is_asked",
    "/v1/videos/{video_id}/remix": "test_inventory_of_a_remix",
    "/v2/{scope}/generations": "MEDIA, by scope",
    "/v1/realtime/calls": "tests/realtime/test_client_secrets.py::test_a_call_without_money",
    "/v1beta/models/{model}:generateContent": "BODIES, by format",
    "/v1beta/models/{model}:streamGenerateContent": "BODIES, by format",
}
FREE = {
    "/v1/messages/count_tokens": "counts, for which no vendor charges",
    "/v1/responses/input_tokens": "counts",
    "/v1beta/models/{model}:countTokens": "counts",
    "/v1/responses/{response_id}": "deletes",
    "/v1/responses/{response_id}/cancel": "ends",
    "/v1/videos/{video_id}": "deletes",
    "/v2/{scope}/generations/{task_id}": "cancels",
    "/sora/v1/characters/{character_id}": "deletes",
    "/v1/realtime/client_secrets": "makes a key, at whose use is paid",
    "/v1/realtime/calls/{call_id}/{verb}": "ends",
    "/v1/account/callback-secret/rotate": "no upstream",
    "/v1/account/redemptions": "brings money",
}


def _doors() -> list[tuple[str, str]]:
    """Every path of every format that makes an answer, and the format's name; MODEL stands for one."""
    found = [(name, path) for name, format in by_name().items() for path in format.client_paths]
    for name, format in by_name().items():
        found += [(name, f"{path}MODEL:{method}") for path in format.model_paths for method in METHODS]
    return found


def unclassed(paths: Iterable[str]) -> list[str]:
    """The published paths that take more than a GET and that nobody has said who pays for."""
    surfaces = {
        path for surface in SURFACES for path in surface.paths
    }  # tests/surfaces/test_doors.py asks each of them
    objects = {f"/v1/{family}{rest}" for family in OPENAI_OBJECTS for rest in ("", "/{id}")}  # and these
    known = {*FREE, *ELSEWHERE, *MEDIA, *surfaces, *objects, *(path for _, path in _doors())}
    return [path for path in paths if path not in known and not path.startswith("/admin/")]


def test_inventory_of_who_pays(gateway: Gateway) -> None:
    published: Mapping[str, Any] = httpx2.get(f"{gateway.url}/openapi.json").json()["paths"]
    paths = [path for path, item in published.items() if item.keys() - {"get", "head", "parameters"}]
    assert len(paths) > 30
    assert unclassed(paths) == []
    assert unclassed([*paths, "/v1/new-things"]) == ["/v1/new-things"]
    assert {format for format, _ in _doors()} == BODIES.keys()


def _heard_of(demo: DemoProcess, mark: str) -> int:
    return len(demo.received(mark))


@pytest.mark.parametrize(("format", "path"), _doors())
def test_inventory_of_formats_without_money(
    gateway: Gateway, operator: Operator, demo: DemoProcess, format: str, path: str
) -> None:
    """With a cent the upstream hears of it, without one it doesn't: the same door, the same request."""
    mark = uuid4().hex[:12]
    operator.model(f"u-{mark}?", aliases=[mark, f"tunedModels/{mark}"])
    url = gateway.url + path.replace("MODEL", mark)
    body = BODIES[format] if "MODEL" in path else {"model": mark, **BODIES[format]}
    poor, able = operator.customer(grant=None), operator.customer("0.05")
    refused = httpx2.post(url, json=body, headers=poor.headers, timeout=30)
    assert refused.status_code in (402, 429), refused.text
    assert "quota" in refused.text
    assert _heard_of(demo, mark) == 0
    assert operator.entries(poor) == []
    answer = httpx2.post(url, json=body, headers=able.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    assert _heard_of(demo, mark) == 1
    (entry,) = operator.entries(able, count=1)
    assert float(entry["charged"]) > 0


@pytest.mark.parametrize("path", MEDIA)
def test_inventory_of_tasks_without_money(gateway: Gateway, operator: Operator, path: str) -> None:
    kind, provider, body = MEDIA[path]
    model = _film(operator, kind, provider)
    poor, able = operator.customer("0.09"), operator.customer("0.1")
    for customer, status in ((poor, 429), (able, 200)):
        answer = httpx2.post(gateway.url + path, json={"model": model, **body}, headers=customer.headers, timeout=30)
        assert answer.status_code == status, answer.text
    assert operator.call("GET", "/tasks", params={"account_id": poor.account_id})["data"] == []


def _film(operator: Operator, kind: str, provider: str) -> str:
    model = operator.model(kind=kind, price={"per_call": "0.1"}, max_output_tokens=None)
    base_url = operator.demo_url + ("/v1" if provider == "openai_videos" else "")
    operator.channel(model, f"demo-{kind}?polls=1", provider=provider, base_url=base_url)
    return model


def test_inventory_of_a_remix(gateway: Gateway, operator: Operator) -> None:
    """A second video out of the first one is a second video."""
    model, customer = _film(operator, "video", "openai_videos"), operator.customer("0.15")
    with httpx2.Client(base_url=gateway.base_url, headers=customer.headers, timeout=30) as client:
        made = client.post("/videos", json={"model": model, "prompt": "A cat", "seconds": "4"}).json()
        deadline = time.monotonic() + 20
        while client.get(f"/videos/{made['id']}").json()["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        answer = client.post(f"/videos/{made['id']}/remix", json={"prompt": "at night"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
        operator.call("POST", f"/accounts/{customer.account_id}/grants", json={"amount": "0.05"})
        assert client.post(f"/videos/{made['id']}/remix", json={"prompt": "at night"}).status_code == 200
