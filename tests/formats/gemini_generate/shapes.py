"""Requests, answers and streams of Google's, as Hypothesis makes them, and the SDK that judges what we write."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
from google import genai
from google.genai import types
from hypothesis import strategies as st

from app.core.conversation import Event
from app.core.sse import read_frame, split_frames
from app.formats.base import EventReader, Request, Stamp, Target
from app.formats.gemini_generate import FORMAT

TARGET = Target("upstream", None, 4096)
STAMP = Stamp("0123456789abcdef0123456789abcdef", 1_790_000_000)
PATH = "/v1beta/models/m:generateContent"
STREAM = "/v1beta/models/m:streamGenerateContent"
NO_QUIRKS: frozenset[str] = frozenset()

# Lone surrogates and line ends of other alphabets included: upstreams and clients send both.
TEXT = st.text(st.characters() | st.sampled_from('\ud83d\ude00\u2028\u2029\u0085\n"\\'), min_size=1, max_size=12)
SEEDS = st.integers(0, 10**6)
"""Of where a stream is cut."""

WORD = st.text("abcdefgh_-0123", min_size=1, max_size=8)
SIGNATURE = st.binary(min_size=1, max_size=9).map(lambda raw: base64.b64encode(raw).decode())
DATA = SIGNATURE
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=5,
)
OBJECT = st.dictionaries(WORD, JSON, max_size=3)


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in required.items()},
        optional=optional or {},
    )


# -- requests ------------------------------------------------------------------------------------------------------------

TEXTS = record({"text": TEXT})
INLINE = record(
    {"inlineData": record({"mimeType": st.sampled_from(["image/png", "audio/wav", "application/pdf"]), "data": DATA})}
)
FILES = record(
    {
        "fileData": record(
            {
                "mimeType": st.sampled_from(["image/png", "audio/wav", "application/pdf"]),
                "fileUri": st.sampled_from(
                    ["https://example.com/a", "https://generativelanguage.googleapis.com/v1beta/files/a", "gs://b/c"]
                ),
            }
        )
    }
)
RESULTS = record(
    {
        "functionResponse": record(
            {
                "id": WORD,
                "name": WORD,
                "response": OBJECT | record({"output": TEXT | OBJECT}) | record({"error": TEXT | OBJECT}),
            },
            {"parts": st.lists(INLINE | FILES, min_size=1, max_size=2)},
        )
    }
)
SIGNED = {"thoughtSignature": SIGNATURE}
CALLS = record({"functionCall": record({"id": WORD, "name": WORD, "args": OBJECT})}, SIGNED)
THOUGHTS = record({"text": TEXT, "thought": True}, SIGNED)
SAID = record({"text": TEXT}, SIGNED)

USER = st.tuples(st.lists(RESULTS, max_size=2), st.lists(TEXTS | INLINE | FILES, max_size=3)).map(
    lambda parts: {"role": "user", "parts": [*parts[0], *parts[1]]}
)
MODEL = st.lists(THOUGHTS | SAID | CALLS, min_size=1, max_size=4).map(lambda parts: {"role": "model", "parts": parts})
CONTENTS = st.lists(USER.filter(lambda turn: bool(turn["parts"])) | MODEL, min_size=1, max_size=4)
DECLARATIONS = record({"name": WORD}, {"description": TEXT, "parametersJsonSchema": OBJECT})
THINKING = record({}, {"includeThoughts": st.just(True)}).flatmap(
    lambda config: st.sampled_from(
        [{**config, "thinkingBudget": 100}, {**config, "thinkingBudget": -1}, {**config, "thinkingLevel": "HIGH"},
         {"thinkingBudget": 0}, {"includeThoughts": True}]
    )
)  # fmt: skip
CALLING = st.sampled_from(
    [
        {"mode": "AUTO"},
        {"mode": "NONE"},
        {"mode": "ANY"},
        {"mode": "ANY", "allowedFunctionNames": ["a"]},
        {"mode": "VALIDATED"},
        {"mode": "VALIDATED", "allowedFunctionNames": ["a", "b"]},
    ]
)
CONFIG = record(
    {},
    {
        "temperature": st.sampled_from([0.0, 1.0, 1.5]),
        "topP": st.sampled_from([0.5, 1.0]),
        "topK": st.integers(1, 50),
        "candidateCount": st.integers(1, 3),
        "maxOutputTokens": st.integers(1, 9000),
        "stopSequences": st.lists(WORD, min_size=1, max_size=3),
        "presencePenalty": st.sampled_from([0.0, 0.5]),
        "frequencyPenalty": st.sampled_from([0.0, 0.5]),
        "seed": st.integers(0, 99),
        "responseLogprobs": st.booleans(),
        "logprobs": st.integers(1, 5),
        "responseModalities": st.sampled_from([["TEXT"], ["TEXT", "IMAGE"], ["AUDIO"]]),
        "thinkingConfig": THINKING,
    },
).flatmap(
    lambda config: (
        st.sampled_from([{}, {"responseMimeType": "application/json"}, {"responseMimeType": "text/plain"}]).map(
            lambda kind: {**config, **kind}
        )
        | OBJECT.map(lambda schema: {**config, "responseMimeType": "application/json", "responseJsonSchema": schema})
    )
)
REQUESTS = record(
    {"contents": CONTENTS},
    {
        "systemInstruction": record({"parts": st.lists(TEXTS, min_size=1, max_size=2)}),
        "tools": st.lists(DECLARATIONS, min_size=1, max_size=3).map(lambda found: [{"functionDeclarations": found}]),
        "serviceTier": st.sampled_from(["standard", "flex", "priority"]),
        "generationConfig": CONFIG,
    },
).flatmap(
    lambda body: (
        CALLING.map(lambda calling: {**body, "toolConfig": {"functionCallingConfig": calling}})
        if "tools" in body
        else st.just(body)
    )
)

DEFAULTS = {"topP": 1.0, "candidateCount": 1, "presencePenalty": 0.0, "frequencyPenalty": 0.0, "responseLogprobs": False,
            "responseMimeType": "text/plain", "responseModalities": ["TEXT"]}  # fmt: skip


def normal(request: dict[str, Any]) -> dict[str, Any]:
    """The same request in one form: no defaults, turns of one role as one, a text in one piece, results first."""
    body = {name: value for name, value in request.items() if value not in ({}, "standard")}
    if body.get("toolConfig") == {"functionCallingConfig": {"mode": "AUTO"}}:
        del body["toolConfig"]
    config = {name: v for name, v in body.pop("generationConfig", {}).items() if DEFAULTS.get(name) != v}
    if config:
        body["generationConfig"] = config
    turns: list[dict[str, Any]] = []
    for turn in body["contents"]:
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["parts"] = turns[-1]["parts"] + turn["parts"]
        else:
            turns.append(dict(turn))
    for turn in turns:
        turn["parts"] = joined(turn["parts"]) if turn["role"] == "model" else results_first(turn["parts"])
    return {**body, "contents": turns}


def results_first(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(parts, key=lambda part: "functionResponse" not in part)


def joined(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of a text without a signature are one text; a thought goes on until it is signed."""
    found: list[dict[str, Any]] = []
    for part in parts:
        last = found[-1] if found else {}
        alike = "text" in last and "text" in part and last.get("thought") == part.get("thought")
        if alike and "thoughtSignature" not in last and (part.get("thought") or "thoughtSignature" not in part):
            found[-1] = {**part, "text": last["text"] + part["text"]}
        else:
            found.append(part)
    return found


def spoil(value: Any, dice: random.Random, junk: Any) -> Any:
    """The same value with something else at one place in it."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        name = dice.choice([*value])
        return {**value, name: spoil(value[name], dice, junk)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        at = dice.randrange(len(value))
        return [*value[:at], spoil(value[at], dice, junk), *value[at + 1 :]]
    return junk


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def ask(path: str = PATH, query: bytes = b"", **fields: Any) -> Request:
    return FORMAT.read_request(body({"contents": [], **fields}), path, query)


# -- answers -------------------------------------------------------------------------------------------------------------

COUNT = st.integers(0, 1000)
USAGES = st.builds(
    lambda prompt, cached, answer, thoughts: {
        "promptTokenCount": prompt + cached,
        "candidatesTokenCount": answer,
        "totalTokenCount": prompt + cached + answer + thoughts,
        **({"thoughtsTokenCount": thoughts} if thoughts else {}),
        **({"cachedContentTokenCount": cached} if cached else {}),
    },
    *[COUNT] * 4,
)
LOGPROBS = st.lists(st.tuples(TEXT, st.integers(-9, -1)), min_size=1, max_size=3).map(
    lambda tokens: {
        "chosenCandidates": [{"token": token, "logProbability": float(value)} for token, value in tokens],
        "topCandidates": [
            {"candidates": [{"token": token, "logProbability": float(value)}]} for token, value in tokens
        ],
    }
)
PICTURES = record({"inlineData": record({"mimeType": "image/png", "data": DATA})}, SIGNED)
CODE = record({"executableCode": record({"language": "PYTHON", "code": TEXT})})
CANDIDATE = record(
    {
        "content": st.lists(THOUGHTS | SAID | CALLS | PICTURES | CODE, min_size=1, max_size=5).map(
            lambda parts: {"role": "model", "parts": joined(parts)}
        ),
        "finishReason": st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY"]),
    },
    {"logprobsResult": LOGPROBS},
)
ANSWERS = st.lists(CANDIDATE, min_size=1, max_size=2).flatmap(
    lambda candidates: USAGES.map(
        lambda usage: {
            "candidates": [{**candidate, "index": index} for index, candidate in enumerate(candidates)],
            "usageMetadata": usage,
            "modelVersion": "m",
            "responseId": STAMP.id,
        }
    )
)


def chunks_of(answer: dict[str, Any], dice: random.Random) -> list[dict[str, Any]]:
    """The stream that tells an answer, its texts cut anywhere, its candidates taking turns."""
    queues = [(candidate, list(_pieces(candidate["content"]["parts"], dice))) for candidate in answer["candidates"]]
    head = {name: answer[name] for name in ("modelVersion", "responseId")}
    running = {"promptTokenCount": answer["usageMetadata"]["promptTokenCount"], "totalTokenCount": 1}
    chunks: list[dict[str, Any]] = []
    while any(parts for _, parts in queues):
        candidate, parts = dice.choice([queue for queue in queues if queue[1]])
        taken = [parts.pop(0) for _ in range(min(len(parts), dice.randint(1, 3)))]
        told = {"content": {"role": "model", "parts": taken}, "index": candidate["index"]}
        chunks.append({"candidates": [told], "usageMetadata": running, **head})
    ends = [{**candidate, "content": {"role": "model", "parts": [{"text": ""}]}} for candidate in answer["candidates"]]
    return [*chunks, {"candidates": ends, "usageMetadata": answer["usageMetadata"], **head}]


def _pieces(parts: Iterable[dict[str, Any]], dice: random.Random) -> Iterator[dict[str, Any]]:
    for part in parts:
        if "text" not in part or ("thoughtSignature" in part and not part.get("thought")):
            yield part
            continue
        signature = {name: part[name] for name in ("thoughtSignature",) if name in part}
        pieces = [{**part, "text": piece} for piece in cut(part["text"], dice)]
        for piece in pieces:
            piece.pop("thoughtSignature", None)
        yield from pieces[:-1]
        yield {**pieces[-1], **signature}


def cut(text: str, dice: random.Random) -> Iterator[str]:
    while text:
        at = dice.randint(1, 4)
        yield text[:at]
        text = text[at:]


def frame(value: object) -> bytes:
    return b"data: " + body(value) + b"\n\n"


def read_events(reader: EventReader, stream: bytes) -> list[Event]:
    events: list[Event] = []
    for part in split_frames(stream):
        name, data = read_frame(part)
        if data is not None:
            events += reader.read(data, name)
    return [*events, *reader.end()]


def sdk(content: bytes, *, status: int = 200, seen: list[httpx2.Request] | None = None) -> genai.Client:
    """The official SDK, with an upstream that answers these bytes."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        return httpx2.Response(status, headers={"content-type": "application/json"}, content=content)

    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url="http://gateway", httpx_client=client))
