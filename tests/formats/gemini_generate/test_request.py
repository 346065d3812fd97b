"""Reading a generateContent request, and passing it on untouched but for its output cap."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.conversation import Signature
from app.core.signatures import seal
from app.errors import GatewayError
from app.formats.body import MAX_OUTPUT_CAP
from app.formats.gemini_generate import FORMAT
from app.formats.gemini_generate.thoughts import SKIP_SIGNATURE
from tests.formats.gemini_generate.shapes import JSON, PATH, STREAM, WORD, body

SEALED = seal(Signature("anthropic", "proof"), "google")


def refused(raw: bytes, path: str = PATH) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_request(raw, path)
    FORMAT.write_error(caught.value)
    return caught.value


def written(raw: bytes, output_cap: int | None = None) -> bytes:
    request = FORMAT.read_request(raw, PATH)
    return FORMAT.write_request(request, model="up", output_cap=output_cap, cap_field="max_tokens")


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-3-flash:generateContent", "gemini-3-flash", False),
        ("/v1/models/gemini-3-flash:streamGenerateContent", "gemini-3-flash", True),
        ("/v1beta/models/models/gemini-3-flash:generateContent", "gemini-3-flash", False),
        ("/v1beta/models/google/gemini-3-flash:generateContent", "google/gemini-3-flash", False),
        ("/v1beta/models/qwen3:32b:generateContent", "qwen3:32b", False),
        ("/v1/publishers/google/models/gemini-3-flash:generateContent", "gemini-3-flash", False),
        ("/v1beta/models/publishers/google/models/x:streamGenerateContent", "x", True),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine", False),
    ],
)
def test_the_path_names_model_and_method(path: str, model: str, stream: bool) -> None:
    request = FORMAT.read_request(b'{"contents":[]}', path)

    assert path.startswith(FORMAT.model_paths)
    assert (request.model, request.stream, request.wants_usage) == (model, stream, True)


@pytest.mark.parametrize("method", ["embedContent", "predict", "", "generateContents"])
def test_another_method_is_not_found(method: str) -> None:
    error = refused(b'{"contents":[]}', f"/v1beta/models/m:{method}")

    assert (error.status, error.code) == (404, "not_found")
    assert json.loads(FORMAT.write_error(error))["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "framing"),
    [(b"alt=sse", "sse"), (b"key=sk-1&alt=sse", "sse"), (b"%24alt=sse", "sse"), (b"", "array"), (b"alt=json", "array")],
)
def test_the_query_says_how_a_stream_is_cut(query: bytes, framing: str) -> None:
    assert FORMAT.read_request(b'{"contents":[]}', STREAM, query).framing == framing
    assert FORMAT.read_request(b'{"contents":[]}', PATH, query).framing == "sse"


@pytest.mark.parametrize(
    ("config", "cap", "choices"),
    [
        (None, None, 1),
        ({}, None, 1),
        ({"maxOutputTokens": None, "candidateCount": None}, None, 1),
        ({"maxOutputTokens": 7, "candidateCount": 2}, 7, 2),
        ({"max_output_tokens": 7, "candidate_count": 2}, 7, 2),
        ({"maxOutputTokens": 7, "max_output_tokens": 9}, 9, 1),
        ({"maxOutputTokens": "7"}, 7, 1),
    ],
)
@pytest.mark.parametrize("name", ["generationConfig", "generation_config"])
def test_cap_and_number_of_answers(name: str, config: object, cap: int | None, choices: int) -> None:
    request = FORMAT.read_request(body({"contents": [], name: config}), PATH)

    assert (request.output_cap, request.choices) == (cap, choices)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"{}", "contents"),
        (b'{"contents":"hi"}', "contents"),
        (b'{"contents":[],"generationConfig":[]}', "generationConfig"),
        (b'{"contents":[],"generationConfig":{"maxOutputTokens":"many"}}', "generationConfig.maxOutputTokens"),
        (b'{"contents":[],"generationConfig":{"maxOutputTokens":0}}', "generationConfig.maxOutputTokens"),
        (b'{"contents":[],"generationConfig":{"maxOutputTokens":%d}}' % (MAX_OUTPUT_CAP + 1),
         "generationConfig.maxOutputTokens"),
        (b'{"contents":[],"generation_config":{"candidate_count":1.5}}', "generationConfig.candidate_count"),
        (b"[]", None),
        (b"", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(raw: bytes, param: str | None) -> None:
    error = refused(raw)

    assert (error.status, error.param) == (400, param)


def test_a_path_without_a_model() -> None:
    assert refused(b'{"contents":[]}', "/v1beta/models/:generateContent").param == "model"


# -- what goes on --------------------------------------------------------------------------------------------------------


@given(st.dictionaries(WORD, JSON, max_size=4), st.booleans())
def test_a_request_passes_byte_by_byte(unknown: dict[str, Any], escaped: bool) -> None:
    raw = json.dumps({**unknown, "contents": [{"parts": [{"text": "ü", **unknown}]}]}, indent=1, ensure_ascii=escaped)
    sent = raw.encode("utf-8", "surrogatepass") if escaped else raw.encode("utf-8", "replace")

    assert written(sent) == sent


@given(st.dictionaries(WORD, JSON, max_size=4))
def test_a_lower_cap_changes_nothing_else(unknown: dict[str, Any]) -> None:
    request = {**unknown, "contents": [], "generationConfig": {**unknown, "maxOutputTokens": 50}}

    assert json.loads(written(body(request), 20)) == {
        **request,
        "generationConfig": {**unknown, "maxOutputTokens": 20},
    }


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b'{"contents":[]}', b'{"contents":[],"generationConfig":{"maxOutputTokens":20}}'),
        (b'{"contents":[],"generationConfig":null}', b'{"contents":[],"generationConfig":{"maxOutputTokens":20}}'),
        (b'{"contents":[],"generation_config":{"topP":1e0}}',
         b'{"contents":[],"generation_config":{"topP":1e0,"maxOutputTokens":20}}'),
        (b'{"contents":[],"generation_config":{"max_output_tokens":"90"}}',
         b'{"contents":[],"generation_config":{"max_output_tokens":20}}'),
        (b'{"contents":[],"generationConfig":{"maxOutputTokens":10,"max_output_tokens":30}}',
         b'{"contents":[],"generationConfig":{"maxOutputTokens":10,"max_output_tokens":20}}'),
    ],
)  # fmt: skip
def test_the_cap_stands_where_the_client_has_put_it(raw: bytes, wanted: bytes) -> None:
    assert written(raw, 20) == wanted


def test_google_is_not_given_what_another_vendor_signed() -> None:
    """A client that changed the model in the middle sends along what the gateway has sealed."""
    own = b'{"text":"kept","thoughtSignature":"AAAA","odd":1.50}'
    parts = [
        {"text": "a foreign thought", "thought": True, "thoughtSignature": SEALED},
        {"text": "", "thoughtSignature": SEALED},
        {"text": "said", "thought_signature": SEALED},
        {"functionCall": {"name": "f"}, "thoughtSignature": SEALED.replace("+", "-").replace("/", "_")},
    ]
    foreign = b",".join(map(body, parts))
    raw = b'{"contents":[{"role":"model","parts":[%b,%b]},{"parts":[%b]}]}' % (own, foreign, body(parts[0]))

    sent = written(raw)

    assert own in sent
    assert json.loads(sent) == {
        "contents": [
            {
                "role": "model",
                "parts": [
                    json.loads(own),
                    {"text": "said"},
                    {"functionCall": {"name": "f"}, "thoughtSignature": SKIP_SIGNATURE},
                ],
            }
        ]
    }


# -- counting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b'{"contents":[]}', b'{"generateContentRequest":{"contents":[]}}'])
def test_a_count(raw: bytes) -> None:
    path = "/v1beta/models/m:countTokens"
    assert FORMAT.counts(path)
    assert not FORMAT.counts(PATH)

    request = FORMAT.read_count(raw, path)

    assert (request.model, request.stream, request.output_cap) == ("m", False, None)
    assert FORMAT.write_request(request, model="up", output_cap=None, cap_field="") == raw
    assert json.loads(FORMAT.write_count(7)) == {"totalTokens": 7}


def test_a_count_of_nothing() -> None:
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_count(b"{}", "/v1beta/models/m:countTokens")
    assert caught.value.param == "contents"


def test_what_a_request_feeds_the_model() -> None:
    """Images count by the formula (an unknown size as the dearest), whichever way names are spelt."""
    prompt = FORMAT.read_prompt(
        body(
            {
                "system_instruction": {"parts": {"text": "system"}},
                "contents": [
                    {"parts": [{"text": "said"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]},
                    {"parts": [{"functionCall": {"name": "look", "args": {"city": "Rome"}}}]},
                    {"parts": [{"functionResponse": {"name": "look", "response": {"sky": "blue"}}}]},
                ],
                "tools": [{"functionDeclarations": [{"name": "look", "description": "looks"}]}],
                "generationConfig": {"responseSchema": {"type": "OBJECT", "title": "shape"}},
            }
        )
    )

    for word in ("system", "said", "look", "Rome", "blue", "looks", "shape"):
        assert word in prompt.text
    assert prompt.image_tokens == 85 + 170 * 8
    assert (
        FORMAT.read_prompt(body({"generateContentRequest": {"contents": [{"parts": [{"text": "in"}]}]}})).text == "in"
    )
    assert FORMAT.read_prompt(b"broken").text == "broken"
