"""Models that know no streams answer whole where one was asked for: the answer passes, is charged, and is asked for once."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from app.demo.media.makers.wav import make_wav
from tests.gateway import Operator
from tests.relay.calls import UPSTREAM_SECRET
from tests.surfaces.vendor import UPSTREAM_MODEL, Vendor, charged

PICTURE = base64.b64encode(bytes(200_000)).decode()
RECORDED = {"file": ("a.wav", make_wav("speech", 1.0), "audio/wav")}
TEXT = "A cat sat on the mat."


@dataclass(frozen=True, slots=True)
class Case:
    """A call that asks for a stream, what the vendor answers, and what it comes to."""

    kind: str
    path: str
    price: Mapping[str, Any]
    answer: Any
    cost: Decimal
    content_type: str = "application/json"
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "a transcription": Case(
        "audio",
        "/v1/audio/transcriptions",
        {"per_minute": "0.006"},
        {"text": "Hi.", "usage": {"type": "duration", "seconds": 600}},
        Decimal("0.06"),
        form={"stream": "true"},
    ),
    "a transcription as text": Case(
        "audio",
        "/v1/audio/transcriptions",
        {"per_call": "0.01"},
        b"Hi.\n",
        Decimal("0.01"),
        content_type="text/plain; charset=utf-8",
        form={"stream": "true", "response_format": "text"},
    ),
    "pictures": Case(
        "image",
        "/v1/images/generations",
        {"per_image": "0.04"},
        {"created": 1, "data": [{"b64_json": PICTURE}]},
        Decimal("0.04"),
        json={"prompt": TEXT, "stream": True},
    ),
    "speech": Case(
        "audio",
        "/v1/audio/speech",
        {"per_kchar": "1"},
        bytes(10_000),
        Decimal(len(TEXT)) / 1000,
        content_type="audio/mpeg",
        json={"input": TEXT, "voice": "alloy", "stream_format": "sse"},
    ),
    "a completion": Case(
        "completion",
        "/v1/completions",
        {"output_mtok": "1000"},
        {"choices": [{"text": "x"}], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}},
        Decimal("0.003"),
        json={"prompt": TEXT, "stream": True, "max_tokens": 3},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_stands_for_the_stream(fresh: Vendor, operator: Operator, name: str) -> None:
    case, customer = CASES[name], operator.customer()
    model = fresh.model(case.kind, case.price)
    root = fresh.recorder.url + "/v1"
    operator.channel(model, UPSTREAM_MODEL, provider="openai", base_url=root, api_key=f"{UPSTREAM_SECRET}-2")
    fresh.answers(case.answer, case.content_type)
    if case.json is not None:
        answer = fresh.http.post(case.path, json={"model": model, **case.json}, headers=customer.headers)
    else:
        data = {"model": model, **case.form}
        answer = fresh.http.post(case.path, data=data, files=RECORDED, headers=customer.headers)
    assert answer.status_code == 200, answer.text
    assert answer.content == fresh.recorder.answer
    assert answer.headers["content-type"] == case.content_type
    fresh.received()
    assert charged(fresh.entry(customer)) == case.cost


def test_an_error_in_place_of_a_stream_is_an_error(fresh: Vendor, operator: Operator) -> None:
    customer, model = operator.customer(), fresh.model("image", {"per_image": "0.04"})
    fresh.answers({"error": {"message": "No such thing.", "code": "odd"}})
    asked = {"model": model, "prompt": TEXT, "stream": True}
    answer = fresh.http.post("/v1/images/generations", json=asked, headers=customer.headers)
    assert answer.status_code == 502
    assert fresh.entry(customer)["status"] == "released"


def test_a_large_picture_in_a_stream_passes(fresh: Vendor, operator: Operator) -> None:
    customer, model = operator.customer(), fresh.model("image", {"per_image": "0.04"})
    large = base64.b64encode(bytes(18 * 2**20)).decode()
    fresh.streams({"type": "image_generation.completed", "b64_json": large})
    asked = {"model": model, "prompt": TEXT, "stream": True}
    answer = fresh.http.post("/v1/images/generations", json=asked, headers=customer.headers)
    assert answer.content == fresh.recorder.answer
    assert charged(fresh.entry(customer)) == Decimal("0.04")
