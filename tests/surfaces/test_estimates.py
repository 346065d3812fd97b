"""What is held, and what is charged where nothing is told, in the cases where a careless guess would lose money."""

from __future__ import annotations

import struct
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest

from app.surfaces.rerank import Rerank
from tests.gateway import Operator
from tests.surfaces.vendor import Vendor, charged

CHINESE = "今天天气很好我们去公园散步吧" * 20


def test_speech_is_as_long_as_its_file(fresh: Vendor, operator: Operator) -> None:
    customer = operator.customer()
    model = fresh.model("audio", {"per_minute": "0.6"})
    fresh.answers(bytes(30 * 48_000), "audio/pcm")
    asked = {"model": model, "input": CHINESE, "voice": "alloy", "response_format": "pcm"}
    assert fresh.http.post("/v1/audio/speech", json=asked, headers=customer.headers).status_code == 200
    entry = fresh.entry(customer)
    assert (entry["usage"]["milliseconds"], entry["estimated"]) == (30_000, True)
    assert charged(entry) == Decimal("0.3")


@pytest.mark.parametrize(
    ("said", "milliseconds"),
    [
        ({"input": CHINESE}, len(CHINESE) * 250),
        ({"input": "A cat. " * 40}, 280 * 70),
        ({"input": "A cat. " * 40, "speed": 0.5}, 280 * 140),
    ],
)
def test_packed_speech_is_guessed_by_its_text(
    fresh: Vendor, operator: Operator, said: dict[str, Any], milliseconds: int
) -> None:
    customer = operator.customer()
    model = fresh.model("audio", {"per_minute": "0.6", "input_mtok": "1"})
    fresh.answers(b"sound", "audio/mpeg")
    asked = {"model": model, "voice": "alloy", "instructions": "Speak slowly. " * 100, **said}
    assert fresh.http.post("/v1/audio/speech", json=asked, headers=customer.headers).status_code == 200
    used = fresh.entry(customer)["usage"]
    assert used["milliseconds"] == milliseconds
    assert used["input_tokens"] > 300  # the instructions are read too


@pytest.mark.parametrize(
    ("format", "answer", "milliseconds"),
    [
        ("srt", "1\n00:00:00,000 --> 00:20:00,500\nHi.\n", 1_200_500),
        ("vtt", "WEBVTT\n\n00:00.000 --> 20:00.500\nHi.\n", 1_200_500),
        ("text", "a" + " a" * 3_599, 600_000),
    ],
)
def test_a_recording_is_no_shorter_than_what_was_heard(
    fresh: Vendor, operator: Operator, format: str, answer: str, milliseconds: int
) -> None:
    """The head of this one says that it is a single sample."""
    head = struct.pack(">HH", 4096, 4096) + bytes(6) + ((16000 << 44) | (15 << 36) | 1).to_bytes(8, "big") + bytes(16)
    recording = b"fLaC\x80" + len(head).to_bytes(3, "big") + head + bytes(100_000)
    customer = operator.customer()
    model = fresh.model("audio", {"per_minute": "0.006"})
    fresh.answers(answer.encode(), "text/plain")
    files = {"file": ("a.flac", recording, "audio/flac")}
    data = {"model": model, "response_format": format}
    fresh.http.post("/v1/audio/transcriptions", data=data, files=files, headers=customer.headers)
    entry = fresh.entry(customer)
    assert entry["usage"]["milliseconds"] == milliseconds
    assert charged(entry) == Decimal("0.006") * milliseconds / 60_000


def test_a_completion_is_capped_by_openais_default(fresh: Vendor, operator: Operator) -> None:
    customer = operator.customer()
    model = fresh.model("completion", None, "ollama")
    fresh.answers({"choices": [{"text": "x"}]})
    for said in ({}, {"max_tokens": None}, {"max_tokens": 5}, {"max_tokens": 0, "echo": True}):
        asked = {"model": model, "prompt": "x", **said}
        answer = fresh.http.post("/v1/completions", json=asked, headers=customer.headers)
        assert answer.status_code == 200, answer.text
    caps = [request.json()["max_tokens"] for request in fresh.recorder.requests]
    assert caps == [16, 16, 5, 0]


def test_what_stands_behind_the_gap_is_held_for(fresh: Vendor, operator: Operator) -> None:
    customer = operator.customer("0.001")
    model = fresh.model("completion", {"input_mtok": "1"})
    asked = {"model": model, "prompt": "x", "suffix": "foo bar " * 5_000, "max_tokens": 3}
    answer = fresh.http.post("/v1/completions", json=asked, headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")


@pytest.mark.parametrize(("fidelity", "status"), [("high", 429), (None, 429), ("low", 200)])
def test_faithful_pictures_are_held_for(fresh: Vendor, operator: Operator, fidelity: str | None, status: int) -> None:
    customer = operator.customer("0.30")
    model = fresh.model("image", {"input_image_mtok": "10"})
    fresh.answers({"created": 1, "data": [{"b64_json": "x"}]})
    files = [("image[]", ("a.png", b"\x89PNG", "image/png"))] * 16
    data = {"model": model, "prompt": "x", **({} if fidelity is None else {"input_fidelity": fidelity})}
    answer = fresh.http.post("/v1/images/edits", data=data, files=files, headers=customer.headers)
    assert answer.status_code == status, answer.text


def test_a_query_is_read_once_however_many_documents() -> None:
    body = b'{"model":"m","query":"%s","documents":[%s"a"]}' % (b"q" * 200_000, b'"a",' * 9_999)
    tracemalloc.start()
    try:
        request = Rerank().read(body, "/v1/rerank")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert request.most.input_tokens > 10_000 * 20_000
    assert peak < 50_000_000  # each document with its query would be two gigabytes
