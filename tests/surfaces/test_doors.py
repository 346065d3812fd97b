"""Whatever costs an upstream work is paid for: every surface and every family asks for money first, and writes an entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest

from app.demo.media.makers.wav import make_wav
from app.providers.base import OPENAI_OBJECTS
from app.surfaces import SURFACES
from tests.gateway import Operator
from tests.relay.calls import UPSTREAM_SECRET, wait_until_served
from tests.surfaces.keeper import Keeper, run_keeper
from tests.surfaces.vendor import Vendor

RECORDING = {"file": ("a.wav", make_wav("speech", 0.5), "audio/wav")}
SHOWN = {"image": ("a.png", b"PNG", "image/png")}
PROVIDERS = {"rerank": "jina"}
ASKED: Mapping[str, dict[str, Any]] = {
    "completions": {"json": {"prompt": "a"}},
    "embeddings": {"json": {"input": "a"}},
    "moderations": {"json": {"input": "a"}},
    "rerank": {"json": {"query": "a", "documents": ["b"]}},
    "image_generations": {"json": {"prompt": "a"}},
    "image_edits": {"files": SHOWN, "data": {"prompt": "a"}},
    "image_variations": {"files": SHOWN},
    "speech": {"json": {"input": "a", "voice": "alloy"}},
    "transcriptions": {"files": RECORDING},
    "translations": {"files": RECORDING},
}
"""A request of each surface, but for the model. One that is missing here fails."""

ANSWERS: Mapping[str, Any] = {
    "completions": {"choices": []},
    "embeddings": {"data": []},
    "moderations": {"results": []},
    "rerank": {"results": []},
    "speech": b"sound",
    "transcriptions": {"text": "a"},
    "translations": {"text": "a"},
}
PICTURES = {"data": [{"b64_json": "AA=="}]}


def ask(
    vendor: Vendor, path: str, headers: Mapping[str, str], model: str, options: Mapping[str, Any]
) -> httpx2.Response:
    if "json" in options:
        return vendor.http.post(path, json={"model": model, **options["json"]}, headers=headers)
    form = {"model": model, **options.get("data", {})}
    return vendor.http.post(path, data=form, files=dict(options["files"]), headers=headers)


@pytest.mark.parametrize(("name", "path"), [(surface.name, path) for surface in SURFACES for path in surface.paths])
def test_a_surface_asks_for_money_first(fresh: Vendor, operator: Operator, name: str, path: str) -> None:
    (surface,) = [each for each in SURFACES if each.name == name]
    model = fresh.model(min(surface.kinds), {"per_call": "0.1"}, PROVIDERS.get(name, "openai"))
    fresh.answers(ANSWERS.get(name, PICTURES), "audio/mpeg" if name == "speech" else "application/json")
    poor, able = operator.customer("0.09"), operator.customer("0.1")
    refused = ask(fresh, path, poor.headers, model, ASKED[name])
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert not fresh.recorder.requests
    assert operator.entries(poor) == []
    answer = ask(fresh, path, able.headers, model, ASKED[name])
    assert answer.status_code == 200, answer.text
    assert len(fresh.recorder.requests) == 1
    (entry,) = operator.entries(able, count=1)
    assert (entry["charged"], entry["format"]) == ("0.1", f"openai_{name}")


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    with run_keeper() as running:
        yield running


@pytest.fixture(scope="module")
def home(operator: Operator, keeper: Keeper) -> str:
    operator.call("PUT", "/models/home-of-objects", json={"kind": "chat", "free": True})
    passes = dict.fromkeys(OPENAI_OBJECTS, "0.1")
    operator.channel(
        "home-of-objects",
        "any",
        base_url=keeper.url,
        api_key=UPSTREAM_SECRET,
        options={"passes": passes},
        priority=-100,
    )
    wait_until_served(operator, "home-of-objects")
    return "home-of-objects"


@pytest.mark.parametrize("family", sorted({*OPENAI_OBJECTS} - {"batches"}))
def test_a_family_asks_for_money_first(
    fresh: Vendor, operator: Operator, keeper: Keeper, home: str, family: str
) -> None:
    """Batches are held by what they may use: tests/surfaces/test_batches.py."""
    poor, able = operator.customer("0.09"), operator.customer("0.2")
    keeper.calls.clear()
    for customer, status in ((poor, 429), (able, 200)):
        headers = {**customer.headers, "x-relaygate-model": home}
        answer = fresh.http.post(f"/v1/{family}", json={}, headers=headers)
        assert answer.status_code == status, answer.text
    made = answer.json()["id"]
    assert fresh.http.post(f"/v1/{family}/{made}/anything", json={}, headers=able.headers).status_code == 200
    assert len(keeper.calls) == 2
    assert operator.entries(poor) == []
    assert [entry["charged"] for entry in operator.entries(able, count=2)] == ["0.1", "0.1"]
