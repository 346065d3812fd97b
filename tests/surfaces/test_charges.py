"""What every surface costs, from answers in the vendors' own shapes: reported usage exactly, missing usage by an estimate."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from app.core.tokens import count_text
from app.demo.media.makers.wav import make_wav
from tests.gateway import Operator
from tests.surfaces.vendor import Vendor, charged

PICTURE = base64.b64encode(b"a picture").decode()
RECORDING = make_wav("speech", 2.5)
MTOK = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Case:
    """A call, what the vendor answers, and what it comes to: `usage` holds those counts that matter."""

    kind: str
    path: str
    price: Mapping[str, Any]
    answer: Any
    cost: Decimal
    usage: Mapping[str, Any]
    json: Mapping[str, Any] | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes, str]] = field(default_factory=dict)
    content_type: str = "application/json"
    estimated: bool = False
    provider: str = "openai"


def _vector(count: int = 1) -> list[dict[str, Any]]:
    return [{"object": "embedding", "index": index, "embedding": [0.5, -0.5]} for index in range(count)]


def _image(**more: Any) -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": PICTURE}], **more}


TEXT = "A cat sat on the mat."
IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 272,
    "total_tokens": 322,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}
RECORDED = {"file": ("a.wav", RECORDING, "audio/wav")}
SHOWN = {"image": ("a.png", b"\x89PNG", "image/png")}
RANKED = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
ASKED = {"query": "cats", "documents": ["dogs", "cats"]}
MODERATED = {"id": "m", "model": "o", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]}

CASES = {
    "completions": Case(
        "completion",
        "/v1/completions",
        {"input_mtok": "1", "output_mtok": "2"},
        {"choices": [{"text": "x"}], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}},
        Decimal(7 + 2 * 3) / MTOK,
        {"input_tokens": 7, "output_tokens": 3},
        json={"prompt": TEXT},
    ),
    "completions without usage": Case(
        "completion",
        "/v1/completions",
        {"input_mtok": "1", "output_mtok": "2"},
        {"choices": [{"text": "Meow meow."}]},
        Decimal(count_text(TEXT) + 2 * count_text("Meow meow.")) / MTOK,
        {},
        json={"prompt": TEXT},
        estimated=True,
    ),
    "embeddings": Case(
        "embedding",
        "/v1/embeddings",
        {"input_mtok": "0.02"},
        {"object": "list", "data": _vector(), "model": "v", "usage": {"prompt_tokens": 1234, "total_tokens": 1234}},
        Decimal("0.02") * 1234 / MTOK,
        {"input_tokens": 1234},
        json={"input": TEXT},
    ),
    "embeddings without usage": Case(
        "embedding",
        "/v1/embeddings",
        {"input_mtok": "1"},
        {"object": "list", "data": _vector(2), "model": "v"},
        Decimal(count_text(TEXT * 2)) / MTOK,
        {"input_tokens": count_text(TEXT * 2)},
        json={"input": [TEXT, TEXT]},
        estimated=True,
    ),
    "embeddings of tokens without usage": Case(
        "embedding",
        "/v1/embeddings",
        {"input_mtok": "1"},
        {"object": "list", "data": _vector(2), "model": "v"},
        Decimal(5) / MTOK,
        {"input_tokens": 5},
        json={"input": [[1, 2, 3], [4, 5]]},
        estimated=True,
    ),
    "embeddings at Gemini": Case(
        "embedding",
        "/v1/embeddings",
        {"input_mtok": "0.15"},
        {"embeddings": [{"values": [0.25, 1]}], "usageMetadata": {"promptTokenCount": 9}},
        Decimal("0.15") * 9 / MTOK,
        {"input_tokens": 9},
        json={"input": TEXT},
        provider="gemini",
    ),
    "embeddings at Gemini without usage": Case(
        "embedding",
        "/v1/embeddings",
        {"input_mtok": "1"},
        {"embeddings": [{"values": [0.25, 1]}]},
        Decimal(count_text(TEXT)) / MTOK,
        {"input_tokens": count_text(TEXT)},
        json={"input": TEXT},
        provider="gemini",
        estimated=True,
    ),
    "embeddings at Cohere": Case(
        "embedding",
        "/v1/embeddings",
        {"input_mtok": "0.12"},
        {
            "id": "e",
            "embeddings": {"float": [[0.5, 1]]},
            "texts": [TEXT],
            "meta": {"billed_units": {"input_tokens": 8}},
        },
        Decimal("0.12") * 8 / MTOK,
        {"input_tokens": 8},
        json={"input": TEXT},
        provider="cohere",
    ),
    "moderations by the call": Case(
        "moderation",
        "/v1/moderations",
        {"per_call": "0.001"},
        MODERATED,
        Decimal("0.001"),
        {},
        json={"input": TEXT},
    ),
    "moderations by the token": Case(
        "moderation",
        "/v1/moderations",
        {"input_mtok": "1"},
        MODERATED,
        Decimal(count_text(TEXT)) / MTOK,
        {"input_tokens": count_text(TEXT)},
        json={"input": [TEXT]},
        estimated=True,
    ),
    "rerank at Jina": Case(
        "rerank",
        "/v1/rerank",
        {"input_mtok": "0.05"},
        {"model": "j", "usage": {"total_tokens": 815}, "results": RANKED},
        Decimal("0.05") * 815 / MTOK,
        {"input_tokens": 815},
        json=ASKED,
        provider="jina",
    ),
    "rerank at Cohere": Case(
        "rerank",
        "/v2/rerank",
        {"per_search_unit": "0.002"},
        {"id": "r", "results": RANKED, "meta": {"billed_units": {"search_units": 3}}},
        Decimal("0.006"),
        {"search_units": 3},
        json=ASKED,
        provider="cohere",
    ),
    "rerank without usage": Case(
        "rerank",
        "/v1/rerank",
        {"per_search_unit": "0.002"},
        {"results": RANKED},
        Decimal("0.002"),
        {"search_units": 1},
        json=ASKED,
        provider="vllm",
        estimated=True,
    ),
    "images by the token": Case(
        "image",
        "/v1/images/generations",
        {"input_mtok": "5", "input_image_mtok": "10", "output_mtok": "40"},
        _image(usage=IMAGE_USAGE, size="1024x1024", quality="low"),
        Decimal(5 * 10 + 10 * 40 + 40 * 272) / MTOK,
        {"input_tokens": 50, "input_image_tokens": 40, "output_tokens": 272, "images": 1},
        json={"prompt": TEXT},
    ),
    "images by the piece and size": Case(
        "image",
        "/v1/images/generations",
        {"per_image": "0.04", "variants": [{"when": {"size": "1536x1024"}, "per_image": "0.06"}]},
        {"created": 1, "data": [{"url": "https://a/b.png"}, {"url": "https://a/c.png"}]},
        Decimal("0.12"),
        {"images": 2, "traits": {"size": "1536x1024"}},
        json={"prompt": TEXT, "n": 2, "size": "1536x1024"},
    ),
    "image edits": Case(
        "image",
        "/v1/images/edits",
        {"per_image": "0.05"},
        _image(),
        Decimal("0.05"),
        {"images": 1},
        form={"prompt": TEXT},
        files=SHOWN,
    ),
    "image variations": Case(
        "image",
        "/v1/images/variations",
        {"per_image": "0.02"},
        _image(),
        Decimal("0.02"),
        {"images": 1},
        files=SHOWN,
    ),
    "speech by the character": Case(
        "audio",
        "/v1/audio/speech",
        {"per_kchar": "0.015"},
        b"ID3 sound",
        Decimal("0.015") * len(TEXT) / 1000,
        {"characters": len(TEXT)},
        json={"input": TEXT, "voice": "alloy"},
        content_type="audio/mpeg",
    ),
    "transcription by the token": Case(
        "audio",
        "/v1/audio/transcriptions",
        {"input_mtok": "2.5", "input_audio_mtok": "6", "output_mtok": "10"},
        {
            "text": "Hi.",
            "usage": {
                "type": "tokens",
                "input_tokens": 30,
                "output_tokens": 4,
                "total_tokens": 34,
                "input_token_details": {"text_tokens": 5, "audio_tokens": 25},
            },
        },
        (Decimal("2.5") * 5 + 6 * 25 + 10 * 4) / MTOK,
        {"input_tokens": 30, "input_audio_tokens": 25, "output_tokens": 4},
        files=RECORDED,
    ),
    "transcription by the minute": Case(
        "audio",
        "/v1/audio/transcriptions",
        {"per_minute": "0.006"},
        {"text": "Hi.", "usage": {"type": "duration", "seconds": 90}},
        Decimal("0.009"),
        {"milliseconds": 90_000},
        files=RECORDED,
    ),
    "verbose transcription": Case(
        "audio",
        "/v1/audio/transcriptions",
        {"per_second": "0.0001"},
        {"text": "Hi.", "duration": 3.5, "language": "en", "segments": []},
        Decimal("0.00035"),
        {"milliseconds": 3500},
        form={"response_format": "verbose_json"},
        files=RECORDED,
    ),
    "subtitles": Case(
        "audio",
        "/v1/audio/transcriptions",
        {"per_second": "0.0001"},
        b"1\n00:00:00,000 --> 00:00:02,500\nHi.\n",
        Decimal("0.0001") * 2501 / 1000,
        {"milliseconds": 2501},
        form={"response_format": "srt"},
        files=RECORDED,
        content_type="text/plain",
        estimated=True,
    ),
    "translation": Case(
        "audio",
        "/v1/audio/translations",
        {"per_second": "0.0001"},
        {"text": "Hi."},
        Decimal("0.0001") * 2501 / 1000,
        {"milliseconds": 2501},
        files=RECORDED,
        estimated=True,
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_a_call_is_charged_what_its_vendor_reports(fresh: Vendor, operator: Operator, case: Case) -> None:
    customer = operator.customer()
    model = fresh.model(case.kind, case.price, case.provider)
    fresh.answers(case.answer, case.content_type)
    if case.json is not None:
        answer = fresh.http.post(case.path, json={"model": model, **case.json}, headers=customer.headers)
    else:
        form = {"model": model, **case.form}
        answer = fresh.http.post(case.path, data=form, files=dict(case.files), headers=customer.headers)
    assert answer.status_code == 200, answer.text
    entry = fresh.entry(customer)
    assert (charged(entry), entry["estimated"]) == (case.cost, case.estimated), entry
    assert {name: entry["usage"].get(name) for name in case.usage} == dict(case.usage)
    assert operator.audit()["ok"]
