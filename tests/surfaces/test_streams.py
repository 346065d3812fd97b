"""Answers that come while they are made: passed on as they come, charged by their last event, never ended falsely."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from app.core.tokens import count_text
from app.demo.media.makers.wav import make_wav
from tests.gateway import Operator
from tests.surfaces.vendor import Vendor, charged

PICTURE = base64.b64encode(bytes(300_000)).decode()
MTOK = Decimal(1_000_000)
TEXT = "A cat sat."
TOKENS = {"input_mtok": "1", "output_mtok": "2"}
RECORDED = {"file": ("a.wav", make_wav("speech", 1.0), "audio/wav")}
IMAGE_USAGE = {"input_tokens": 5, "output_tokens": 100, "total_tokens": 105}


def completion(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "text_completion",
        "choices": [{"index": 0, "text": text, "finish_reason": finish}],
        **more,
    }


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    path: str
    events: tuple[Any, ...]
    cost: Decimal
    price: Mapping[str, str] = field(default_factory=lambda: TOKENS)
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    estimated: bool = False
    unseen: int = 0
    """Events at the end, before `[DONE]`, that the client doesn't get."""


USED = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}

CASES = {
    "completions, usage not asked for": Case(
        "completion",
        "/v1/completions",
        (completion("a"), completion("b", "stop"), {"id": "c", "choices": [], "usage": USED}, "[DONE]"),
        Decimal(4 + 2 * 2) / MTOK,
        json={"prompt": TEXT, "stream": True},
        unseen=1,
    ),
    "completions, usage asked for": Case(
        "completion",
        "/v1/completions",
        (completion("b", "stop"), {"id": "c", "choices": [], "usage": USED}, "[DONE]"),
        Decimal(4 + 2 * 2) / MTOK,
        json={"prompt": TEXT, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "completions without usage": Case(
        "completion",
        "/v1/completions",
        (completion("Meow "), completion("meow.", "stop"), "[DONE]"),
        Decimal(count_text(TEXT) + 2 * count_text("Meow meow.")) / MTOK,
        json={"prompt": TEXT, "stream": True},
        estimated=True,
    ),
    "images as they come about": Case(
        "image",
        "/v1/images/generations",
        (
            {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0},
            {"type": "image_generation.completed", "b64_json": PICTURE, "usage": IMAGE_USAGE, "size": "1024x1024"},
        ),
        Decimal(5 + 2 * 100) / MTOK,
        json={"prompt": TEXT, "stream": True, "partial_images": 1},
    ),
    "an edit as it comes about, by the piece": Case(
        "image",
        "/v1/images/edits",
        ({"type": "image_edit.completed", "b64_json": PICTURE, "usage": IMAGE_USAGE},),
        Decimal("0.04"),
        {"per_image": "0.04"},
        form={"prompt": TEXT, "stream": "true"},
        files={"image": ("a.png", b"\x89PNG", "image/png")},
    ),
    "speech as events": Case(
        "audio",
        "/v1/audio/speech",
        (
            {"type": "speech.audio.delta", "audio": PICTURE},
            {"type": "speech.audio.done", "usage": {"input_tokens": 7, "output_tokens": 40, "total_tokens": 47}},
        ),
        Decimal(7 + 2 * 40) / MTOK,
        json={"input": TEXT, "voice": "alloy", "stream_format": "sse"},
    ),
    "a transcription as events": Case(
        "audio",
        "/v1/audio/transcriptions",
        (
            {"type": "transcript.text.delta", "delta": "Hi"},
            {
                "type": "transcript.text.done",
                "text": "Hi",
                "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17},
            },
        ),
        Decimal(14 + 2 * 3) / MTOK,
        form={"stream": "true"},
        files=RECORDED,
    ),
    "a transcription as events without usage": Case(
        "audio",
        "/v1/audio/transcriptions",
        ({"type": "transcript.text.delta", "delta": "Hi"}, {"type": "transcript.text.done", "text": "Hi"}),
        Decimal("0.0001") * 1001 / 1000,
        {"per_second": "0.0001"},
        form={"stream": "true"},
        files=RECORDED,
        estimated=True,
    ),
}


def call(vendor: Vendor, headers: Mapping[str, str], model: str, case: Case) -> httpx2.Response:
    if case.json is not None:
        return vendor.http.post(case.path, json={"model": model, **case.json}, headers=headers)
    return vendor.http.post(case.path, data={"model": model, **case.form}, files=dict(case.files), headers=headers)


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_a_stream_passes_and_is_charged_by_its_last_event(fresh: Vendor, operator: Operator, case: Case) -> None:
    customer = operator.customer()
    model = fresh.model(case.kind, case.price)
    fresh.streams(*case.events, named=case.kind != "completion")
    answer = call(fresh, customer.headers, model, case)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text[:500]
    shown = [event for event in case.events if not (case.unseen and isinstance(event, dict) and event.get("usage"))]
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [item if item == "[DONE]" else json.loads(item) for item in data] == shown
    entry = fresh.entry(customer)
    assert (charged(entry), entry["estimated"], entry["stream"]) == (case.cost, case.estimated, True), entry
    assert operator.audit()["ok"]


def test_a_stream_of_completions_is_made_to_tell_its_usage(fresh: Vendor, operator: Operator) -> None:
    case = CASES["completions, usage not asked for"]
    model = fresh.model("completion", None)
    fresh.streams(*case.events, named=False)
    call(fresh, operator.customer().headers, model, case)
    assert fresh.received().json()["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("name", [name for name in CASES if "completions" not in name])
def test_a_stream_that_breaks_off_ends_with_an_error(fresh: Vendor, operator: Operator, name: str) -> None:
    """Charged, for something was made; what, is an estimate."""
    case, customer = CASES[name], operator.customer()
    model = fresh.model(case.kind, case.price)
    event: dict[str, Any] = {"type": "transcript.text.delta", "delta": "Hi"}
    fresh.streams(event)
    answer = call(fresh, customer.headers, model, case)
    first, last = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert json.loads(first) == event
    assert json.loads(last)["error"]["code"] == "upstream_truncated"
    entry = fresh.entry(customer)
    assert (entry["error"], entry["estimated"], charged(entry) > 0) == ("upstream_truncated", True, True)


# -- sound as a file ---------------------------------------------------------------------------------------------------

SOUND = bytes(range(256)) * 4000


@pytest.mark.parametrize(
    ("said", "told"),
    [("audio/wav", "audio/wav"), ("application/octet-stream", "audio/mpeg"), ("audio/mpeg; x=y", "audio/mpeg")],
)
def test_sound_passes_as_it_is(fresh: Vendor, operator: Operator, said: str, told: str) -> None:
    customer = operator.customer()
    model = fresh.model("audio", {"per_kchar": "1"})
    fresh.answers(SOUND, said)
    answer = fresh.http.post(
        "/v1/audio/speech", json={"model": model, "input": TEXT, "voice": "alloy"}, headers=customer.headers
    )
    assert answer.content == SOUND
    assert answer.headers["content-type"] == told
    assert charged(fresh.entry(customer)) == Decimal(len(TEXT)) / 1000


def test_sound_that_breaks_off_does_not_pass_for_whole(fresh: Vendor, operator: Operator) -> None:
    customer = operator.customer()
    model = fresh.model("audio", {"per_kchar": "1"})
    fresh.answers(SOUND, "audio/mpeg")
    fresh.recorder.cut = True
    asked = {"model": model, "input": TEXT, "voice": "alloy"}
    with fresh.http.stream("POST", "/v1/audio/speech", json=asked, headers=customer.headers) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            answer.read()
    entry = fresh.entry(customer)
    assert (entry["error"], charged(entry)) == ("upstream_disconnected", Decimal(len(TEXT)) / 1000)


@pytest.mark.parametrize("said", ["text/html", "application/json"])
def test_what_is_no_sound_is_the_upstreams_fault(fresh: Vendor, operator: Operator, said: str) -> None:
    customer = operator.customer()
    model = fresh.model("audio", {"per_kchar": "1"})
    fresh.answers(b'{"detail": "x"}', said)
    answer = fresh.http.post(
        "/v1/audio/speech", json={"model": model, "input": TEXT, "voice": "alloy"}, headers=customer.headers
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_bad_response")
    (entry,) = operator.entries(customer)
    assert (entry["status"], entry["charged"]) == ("released", "0")


@pytest.mark.parametrize(
    ("format", "said", "told"),
    [
        ("text", "text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("srt", "application/x-subrip", "text/plain; charset=utf-8"),
        ("vtt", "text/vtt", "text/vtt"),
    ],
)
def test_a_transcription_as_text_passes(fresh: Vendor, operator: Operator, format: str, said: str, told: str) -> None:
    model = fresh.model("audio", None)
    fresh.answers("\n WEBVTT é\n".encode(), said)
    answer = fresh.http.post(
        "/v1/audio/transcriptions",
        data={"model": model, "response_format": format},
        files=dict(RECORDED),
        headers=operator.customer().headers,
    )
    assert (answer.content, answer.headers["content-type"]) == ("\n WEBVTT é\n".encode(), told)
