"""What vendors are sent and clients are answered: their own bytes in their own shape, converted in another one."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from app.demo.media.makers.wav import make_wav
from tests.gateway import Customer, Operator
from tests.providers.recorder import Field
from tests.surfaces.vendor import UPSTREAM_MODEL, Vendor


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer()


def base64_of(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@dataclass(frozen=True, slots=True)
class Talk:
    """`MODEL` stands for the client's name of the model. `told`: what the vendor is sent, at `at`."""

    kind: str
    path: str
    asked: Mapping[str, Any]
    at: str
    told: Mapping[str, Any]
    said: Mapping[str, Any]
    answer: Mapping[str, Any]
    provider: str = "openai"
    dropped: str | None = None


EMBEDDED = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": base64_of(1)}], "x": 1}
DOCUMENTS = ["dogs", "cats", "fish"]
RANKED = [{"index": 2, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.5}]

TALKS = {
    "embeddings pass, unknown fields too": Talk(
        "embedding",
        "/v1/embeddings",
        {"input": "a", "encoding_format": "base64", "dimensions": 1, "x_new": {"a": 1.50}},
        "/v1/embeddings",
        {"input": "a", "encoding_format": "base64", "dimensions": 1, "x_new": {"a": 1.50}, "model": UPSTREAM_MODEL},
        {**EMBEDDED, "usage": {"prompt_tokens": 1, "total_tokens": 1}},
        {**EMBEDDED, "usage": {"prompt_tokens": 1, "total_tokens": 1}},
    ),
    "a base URL without v1": Talk(
        "embedding",
        "/embeddings",
        {"input": ["a"]},
        "/v1/embeddings",
        {"input": ["a"], "model": UPSTREAM_MODEL},
        {**EMBEDDED, "usage": {"prompt_tokens": 1, "total_tokens": 1}},
        {**EMBEDDED, "usage": {"prompt_tokens": 1, "total_tokens": 1}},
    ),
    "embeddings at Gemini": Talk(
        "embedding",
        "/v1/embeddings",
        {"input": ["a", "b"], "dimensions": 2, "user": "u"},
        f"/v1beta/models/{UPSTREAM_MODEL}:batchEmbedContents",
        {
            "requests": [
                {"model": f"models/{UPSTREAM_MODEL}", "outputDimensionality": 2, "content": {"parts": [{"text": text}]}}
                for text in ("a", "b")
            ]
        },
        {"embeddings": [{"values": [0.5, 1]}, {"values": [0, 1]}], "usageMetadata": {"promptTokenCount": 2}},
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.5, 1]},
                {"object": "embedding", "index": 1, "embedding": [0, 1]},
            ],
            "model": "MODEL",
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        },
        provider="gemini",
        dropped="user",
    ),
    "embeddings at Cohere, as base64": Talk(
        "embedding",
        "/v1/embeddings",
        {"input": "a", "encoding_format": "base64", "dimensions": 2},
        "/v2/embed",
        {
            "model": UPSTREAM_MODEL,
            "texts": ["a"],
            "embedding_types": ["float"],
            "input_type": "search_document",
            "output_dimension": 2,
        },
        {"id": "e", "embeddings": {"float": [[0.5, 1]]}, "meta": {"billed_units": {"input_tokens": 1}}},
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": base64_of(0.5, 1)}],
            "model": "MODEL",
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        },
        provider="cohere",
    ),
    "rerank in Jina's shape passes": Talk(
        "rerank",
        "/v1/rerank",
        {"query": "q", "documents": DOCUMENTS, "top_n": 2, "truncate_prompt_tokens": 100},
        "/v1/rerank",
        {"query": "q", "documents": DOCUMENTS, "top_n": 2, "truncate_prompt_tokens": 100, "model": UPSTREAM_MODEL},
        {"id": "v", "results": RANKED, "usage": {"total_tokens": 9}},
        {"id": "v", "results": RANKED, "usage": {"total_tokens": 9}},
        provider="vllm",
    ),
    "Jina's shape at Cohere": Talk(
        "rerank",
        "/v1/rerank",
        {"query": "q", "documents": ["dogs", {"text": "cats"}, "fish"], "top_n": 2},
        "/v2/rerank",
        {"model": UPSTREAM_MODEL, "query": "q", "documents": DOCUMENTS, "top_n": 2},
        {"id": "c", "results": RANKED, "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 11}}},
        {
            "model": "MODEL",
            "object": "list",
            "usage": {"total_tokens": 11, "prompt_tokens": 11},
            "results": [
                {"index": 2, "relevance_score": 0.75, "document": {"text": "fish"}},
                {"index": 0, "relevance_score": 0.5, "document": {"text": "dogs"}},
            ],
        },
        provider="cohere",
    ),
    "Cohere's shape at Jina": Talk(
        "rerank",
        "/v2/rerank",
        {"query": "q", "documents": DOCUMENTS, "top_n": 2, "priority": 1},
        "/v1/rerank",
        {"model": UPSTREAM_MODEL, "query": "q", "documents": DOCUMENTS, "return_documents": False, "top_n": 2},
        {"results": RANKED, "usage": {"total_tokens": 9}},
        {
            "results": RANKED,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        },
        provider="jina",
        dropped="priority",
    ),
}


@pytest.mark.parametrize("talk", [pytest.param(talk, id=name) for name, talk in TALKS.items()])
def test_a_call_in_json(fresh: Vendor, customer: Customer, talk: Talk) -> None:
    model = fresh.model(talk.kind, None, talk.provider)
    fresh.answers(talk.said)
    answer = fresh.http.post(talk.path, json={"model": model, **talk.asked}, headers=customer.headers)
    assert answer.status_code == 200, answer.text
    request = fresh.received()
    assert request.path == talk.at
    assert request.json() == talk.told
    assert customer.key not in str(request.headers)
    said = answer.json()
    if "id" not in talk.answer:  # ours, where the vendor has none
        said.pop("id", None)
    if "model" in talk.answer:
        assert said["model"] == model
        said["model"] = "MODEL"
    assert said == talk.answer
    assert answer.headers.get("x-relaygate-dropped") == talk.dropped


REFUSED = {
    "a field that Gemini has no place for": ("gemini", "embedding", {"input": "a", "x_new": 1}, "x_new"),
    "tokens for Gemini": ("gemini", "embedding", {"input": [1, 2]}, "input"),
    "a picture for Cohere": ("cohere", "rerank", {"query": "q", "documents": [{"image": "x"}]}, "documents"),
    "a field that Cohere has no place for": ("cohere", "rerank", {"query": "q", "documents": ["a"], "x": 1}, "x"),
    "no input": ("openai", "embedding", {}, "input"),
    "an empty input": ("openai", "embedding", {"input": []}, "input"),
    "texts among tokens": ("openai", "embedding", {"input": ["a", 1]}, "input"),
    "a number for a text": ("openai", "embedding", {"input": 5}, "input"),
    "an unknown encoding": ("openai", "embedding", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
    "dimensions of a word": ("openai", "embedding", {"input": "a", "dimensions": "2"}, "dimensions"),
    "no query": ("jina", "rerank", {"documents": ["a"]}, "query"),
    "no documents": ("jina", "rerank", {"query": "q", "documents": []}, "documents"),
    "a number for a document": ("jina", "rerank", {"query": "q", "documents": [1]}, "documents"),
    "a negative top_n": ("jina", "rerank", {"query": "q", "documents": ["a"], "top_n": -1}, "top_n"),
    "a prompt of numbers and texts": ("openai", "completion", {"prompt": ["a", 1]}, "prompt"),
    "too many choices": ("openai", "completion", {"prompt": "a", "n": 1000}, "n"),
    "no picture's prompt": ("openai", "image", {}, "prompt"),
    "too many pictures": ("openai", "image", {"prompt": "a", "n": 11}, "n"),
    "no text to speak": ("openai", "audio", {"voice": "alloy"}, "input"),
    "an unknown way to stream": ("openai", "audio", {"input": "a", "stream_format": "x"}, "stream_format"),
    "nothing to moderate": ("openai", "moderation", {"input": [{"type": "video"}]}, "input"),
}
PATHS = {
    "embedding": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "completion": "/v1/completions",
    "image": "/v1/images/generations",
    "audio": "/v1/audio/speech",
    "moderation": "/v1/moderations",
}


@pytest.mark.parametrize(
    ("provider", "kind", "asked", "param"), [pytest.param(*case, id=name) for name, case in REFUSED.items()]
)
def test_a_wrong_field_is_named_and_costs_nothing(
    fresh: Vendor, operator: Operator, provider: str, kind: str, asked: Mapping[str, Any], param: str
) -> None:
    customer = operator.customer()
    model = fresh.model(kind, {"per_call": "1"}, provider)
    answer = fresh.http.post(PATHS[kind], json={"model": model, **asked}, headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert not fresh.recorder.requests
    assert all(entry["status"] == "released" for entry in operator.entries(customer))


def test_a_form_passes_part_by_part(fresh: Vendor, customer: Customer) -> None:
    """Order, names, file names and types stay; `model` is replaced where it stands."""
    recording = make_wav("tune", 30.0)
    model = fresh.model("audio", None)
    fresh.answers({"text": "Hi."})
    parts: list[tuple[str, tuple[str | None, Any] | tuple[str | None, Any, str]]] = [
        ("file", ('a "b" ü.wav', recording, "audio/x-wav")),
        ("language", (None, "en")),
        ("model", (None, model)),
        ("include[]", (None, "logprobs")),
        ("known_speaker_names[]", (None, "Ann")),
        ("known_speaker_names[]", (None, "Bob")),
    ]
    answer = fresh.http.post("/v1/audio/transcriptions", files=parts, headers=customer.headers)
    assert (answer.status_code, answer.json()) == (200, {"text": "Hi."}), answer.text
    expected: list[Field] = [
        ("file", "a %22b%22 ü.wav", "audio/x-wav", recording),  # as browsers escape it, and this client too
        ("language", None, None, b"en"),
        ("model", None, None, UPSTREAM_MODEL.encode()),
        ("include[]", None, None, b"logprobs"),
        ("known_speaker_names[]", None, None, b"Ann"),
        ("known_speaker_names[]", None, None, b"Bob"),
    ]
    assert fresh.received().form() == expected
    assert "transfer-encoding" not in fresh.received().headers


BAD_FORMS = {
    "no model": ({"a": "b"}, {"file": b"x"}, 400, "model"),
    "no file": ({"model": "MODEL", "a": "b"}, {"other": b"x"}, 400, "file"),
    "an unknown answer format": ({"model": "MODEL", "response_format": "x"}, {"file": b"x"}, 400, "response_format"),
    "no boolean": ({"model": "MODEL", "stream": "maybe"}, {"file": b"x"}, 400, "stream"),
    "a model in a file": ({}, {"file": b"x", "model": b"MODEL"}, 400, "model"),
}


@pytest.mark.parametrize(
    ("fields", "files", "status", "param"), [pytest.param(*case, id=name) for name, case in BAD_FORMS.items()]
)
def test_a_wrong_form_is_named_and_costs_nothing(
    fresh: Vendor, operator: Operator, fields: Mapping[str, str], files: Mapping[str, bytes], status: int, param: str
) -> None:
    customer = operator.customer()
    model = fresh.model("audio", {"per_call": "1"})
    named = {name: value.replace("MODEL", model) for name, value in fields.items()}
    answer = fresh.http.post("/v1/audio/transcriptions", data=named, files=dict(files), headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert not fresh.recorder.requests
    assert not operator.entries(customer)


RAW_FORMS = {
    "no boundary": ("multipart/form-data", b"x", 400, "invalid_form"),
    "another boundary": ("multipart/form-data; boundary=a", b"--b\r\n\r\n", 400, "invalid_form"),
    "cut off": (
        "multipart/form-data; boundary=a",
        b'--a\r\ncontent-disposition: form-data; name="model"\r\n\r\nx',
        400,
        "invalid_form",
    ),
    "a part without a name": (
        "multipart/form-data; boundary=a",
        b"--a\r\nx: y\r\n\r\nz\r\n--a--\r\n",
        400,
        "invalid_form",
    ),
    "too many parts": (
        "multipart/form-data; boundary=a",
        b'--a\r\ncontent-disposition: form-data; name="m"\r\n\r\nx\r\n' * 400 + b"--a--\r\n",
        400,
        "invalid_form",
    ),
    "JSON": ("application/json", b"{}", 415, "unsupported_content_type"),
}


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"), [pytest.param(*case, id=name) for name, case in RAW_FORMS.items()]
)
def test_what_is_no_form_is_refused(
    fresh: Vendor, customer: Customer, content_type: str, body: bytes, status: int, code: str
) -> None:
    headers = {**customer.headers, "content-type": content_type}
    answer = fresh.http.post("/v1/audio/transcriptions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_a_vendor_that_speaks_of_errors_in_its_own_shape_is_understood(fresh: Vendor, customer: Customer) -> None:
    model = fresh.model("rerank", None, "cohere")
    fresh.answers({"message": "too many documents", "id": "x"})
    fresh.recorder.status = 400
    answer = fresh.http.post(
        "/v1/rerank", json={"model": model, "query": "q", "documents": ["a"]}, headers=customer.headers
    )
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "too many documents")


@pytest.mark.parametrize(
    "said", [{"results": [{"index": 7, "relevance_score": 1}]}, {"results": 5}, [], {"error": "x"}]
)
def test_an_answer_that_is_none_is_the_upstreams_fault(fresh: Vendor, operator: Operator, said: Any) -> None:
    customer = operator.customer()
    model = fresh.model("rerank", {"per_call": "1"}, "jina")
    fresh.answers(said)
    answer = fresh.http.post(
        "/v2/rerank", json={"model": model, "query": "q", "documents": ["a"]}, headers=customer.headers
    )
    assert answer.status_code == 502, answer.text
    (entry,) = operator.entries(customer)
    assert (entry["status"], entry["charged"]) == ("released", "0")


def test_a_model_of_another_kind_is_not_found(fresh: Vendor, customer: Customer) -> None:
    model = fresh.model("embedding", None)
    answer = fresh.http.post("/v1/moderations", json={"model": model, "input": "a"}, headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_moderations_have_a_default_model(fresh: Vendor, operator: Operator, customer: Customer) -> None:
    model = fresh.model("moderation", None, aliases=["omni-moderation-latest"])
    fresh.answers({"results": [{"flagged": False}]})
    answer = fresh.http.post("/v1/moderations", json={"input": "a"}, headers=customer.headers)
    assert answer.status_code == 200, answer.text
    assert fresh.received().json() == {"input": "a", "model": UPSTREAM_MODEL}
    operator.call("DELETE", f"/models/{model}")


@pytest.mark.parametrize(
    "disposition",
    [
        r'form-data; name=x\; filename="; name=model; y="',
        r'form-data; name="x\\"; filename="a"',
        r'form-data; name="x\""',
    ],
)
def test_a_form_says_the_same_to_every_reader(fresh: Vendor, operator: Operator, disposition: str) -> None:
    customer, model = operator.customer(), fresh.model("audio", None)
    parts = [
        f'form-data; name="model"\r\n\r\n{model}',
        'form-data; name="file"; filename="a.webm"\r\n\r\nxxxx',
        f"{disposition}\r\n\r\ndear",
    ]
    body = "".join(f"--B\r\nContent-Disposition: {part}\r\n" for part in parts) + "--B--\r\n"
    headers = {**customer.headers, "content-type": "multipart/form-data; boundary=B"}
    answer = fresh.http.post("/v1/audio/transcriptions", content=body.encode(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
    assert not fresh.recorder.requests


@pytest.mark.parametrize(
    ("name", "told"),
    [("Shot 3.45\u202fPM.png", None), ("録音\u3000一.wav", None), ("👩‍💻.wav", None), ("a\\b.wav", "a%5Cb.wav")],
)
def test_file_names_pass(fresh: Vendor, operator: Operator, name: str, told: str | None) -> None:
    customer, model = operator.customer(), fresh.model("audio", None)
    fresh.answers({"text": "Hi."})
    body = (
        f'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'
        f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nxx\r\n--B--\r\n'
    )
    headers = {**customer.headers, "content-type": "multipart/form-data; boundary=B"}
    answer = fresh.http.post("/v1/audio/transcriptions", content=body.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert f'filename="{told or name}"'.encode() in fresh.received().body
