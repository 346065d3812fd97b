"""Requests, answers and streams of Anthropic's, as Hypothesis makes them, and the SDK that judges what we write."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx2
from anthropic import Anthropic
from hypothesis import strategies as st

from app.core.conversation import Event
from app.core.sse import read_frame, split_frames
from app.formats.anthropic_messages import FORMAT
from app.formats.base import EventReader, Request, Stamp, Target

TARGET = Target("upstream", None, 4096)
STAMP = Stamp("0123456789abcdef0123456789abcdef", 1_790_000_000)

# Lone surrogates and line ends of other alphabets included: upstreams and clients send both.
TEXT = st.text(st.characters() | st.sampled_from('\ud83d\ude00\u2028\u2029\u0085\n"\\'), min_size=1, max_size=12)
SEEDS = st.integers(0, 10**6)
"""Of where a stream is cut."""

WORD = st.text("abcdefgh_-0123", min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=5,
)
OBJECT = st.dictionaries(WORD, JSON, max_size=3)
CACHE = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"}])


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in required.items()},
        optional=optional or {},
    )


CACHED = {"cache_control": CACHE}
TEXTS = record({"type": "text", "text": TEXT}, CACHED)
IMAGES = record(
    {
        "type": "image",
        "source": record({"type": "base64", "media_type": st.sampled_from(["image/png", "image/webp"]), "data": WORD})
        | record({"type": "url", "url": st.just("https://example.com/a.png")})
        | record({"type": "file", "file_id": WORD}),
    },
    CACHED,
)
DOCUMENTS = record(
    {
        "type": "document",
        "source": record({"type": "base64", "media_type": "application/pdf", "data": WORD})
        | record({"type": "text", "media_type": "text/plain", "data": TEXT})
        | record({"type": "url", "url": "https://example.com/a.pdf"})
        | record({"type": "file", "file_id": WORD}),
    },
    {"title": TEXT, **CACHED},
)
THOUGHTS = record({"type": "thinking", "thinking": TEXT | st.just(""), "signature": WORD}) | record(
    {"type": "redacted_thinking", "data": WORD}
)
CALLS = record({"type": "tool_use", "id": WORD, "name": WORD, "input": OBJECT})
FOREIGN = record({"type": "server_tool_use", "id": WORD, "name": "web_search", "input": OBJECT})
RESULTS = record(
    {"type": "tool_result", "tool_use_id": WORD},
    {
        "content": TEXT | st.lists(TEXTS | IMAGES | DOCUMENTS, min_size=1, max_size=2),
        "is_error": st.just(True),
        **CACHED,
    },
)

USER = st.tuples(st.lists(RESULTS, max_size=2), st.lists(TEXTS | IMAGES | DOCUMENTS, max_size=3)).map(
    lambda parts: {"role": "user", "content": [*parts[0], *parts[1]]}
)
# Anthropic refuses an assistant's text of nothing but blanks: none is written.
SPOKEN = TEXTS.filter(lambda block: not block["text"].isspace())
ASSISTANT = st.lists(THOUGHTS | SPOKEN | CALLS | FOREIGN, min_size=1, max_size=4).map(
    lambda content: {"role": "assistant", "content": content}
)
MIDWAY = TEXT.map(lambda text: {"role": "system", "content": text})
MESSAGES = st.lists(
    (USER.filter(lambda turn: bool(turn["content"])) | ASSISTANT | record({"role": "user", "content": TEXT})) | MIDWAY,
    min_size=1,
    max_size=4,
).filter(lambda turns: turns[0]["role"] != "system")
TOOLS = record({"name": WORD, "input_schema": record({"type": "object", "properties": OBJECT})}, {
    "description": TEXT, "strict": st.booleans(), **CACHED,
}) | record({"type": "web_search_20260318", "name": "web_search", "max_uses": st.integers(1, 9)})  # fmt: skip
CHOICES = record({"type": st.sampled_from(["auto", "any"])}, {"disable_parallel_tool_use": st.booleans()}) | record(
    {"type": "none"}
)
THINKING = (
    record(
        {"type": "enabled", "budget_tokens": st.integers(1024, 8000)},
        {"display": st.sampled_from(["summarized", "omitted"])},
    )
    | record({"type": "adaptive"}, {"display": st.sampled_from(["summarized", "omitted"])})
    | record({"type": "disabled"})
)
REQUESTS = record(
    {"model": "m", "max_tokens": st.integers(8001, 90_000), "messages": MESSAGES},
    {
        "system": TEXT | st.lists(TEXTS, min_size=1, max_size=2),
        "stream": st.booleans(),
        "tools": st.lists(TOOLS, min_size=1, max_size=3),
        "thinking": THINKING,
        "output_config": record(
            {},
            {
                "effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"]),
                "format": record({"type": "json_schema", "schema": OBJECT}),
            },
        ),
        "stop_sequences": st.lists(WORD, min_size=1, max_size=3),
        "temperature": st.sampled_from([0, 0.5, 1]),
        "top_p": st.sampled_from([0.5, 1.0]),
        "top_k": st.integers(1, 50),
        "metadata": record({"user_id": WORD}),
        "cache_control": CACHE,
        "service_tier": st.sampled_from(["auto", "standard_only"]),
    },
).flatmap(
    lambda body: CHOICES.map(lambda choice: {**body, "tool_choice": choice}) if "tools" in body else st.just(body)
)


def normal(request: dict[str, Any]) -> dict[str, Any]:
    """The same request in one spelling: no defaults, blocks instead of strings, turns of one role as one."""
    body = {name: value for name, value in request.items() if value not in (None, {}, [], False)}
    for name, value in (("temperature", 1), ("top_p", 1), ("service_tier", "auto")):
        if body.get(name) == value:
            del body[name]
    choice = {name: value for name, value in body.pop("tool_choice", {}).items() if value is not False}
    if choice not in ({}, {"type": "auto"}):
        body["tool_choice"] = choice
    if "system" in body:
        body["system"] = _blocks(body["system"])
    turns: list[dict[str, Any]] = []
    for turn in body["messages"]:
        content = _blocks(turn["content"])
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] = turns[-1]["content"] + content
        else:
            turns.append({"role": turn["role"], "content": content})
    for turn in turns:
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return {**body, "messages": turns}


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [{**block, "content": _blocks(block["content"])} if block.get("content") else block for block in content]


# -- answers -------------------------------------------------------------------------------------------------------------

CITATIONS = st.lists(
    WORD.map(
        lambda word: {
            "type": "web_search_result_location",
            "url": f"https://example.com/{word}",
            "title": word,
            "cited_text": "",
            "encrypted_index": "",
        }
    ),
    min_size=1,
    max_size=2,
)
SAID = record({"type": "text", "text": TEXT}, {"citations": CITATIONS})
COUNT = st.integers(0, 1000)
USAGES = st.builds(
    lambda plain, read, short, long, output, thought, tier: {
        "input_tokens": plain,
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output + thought,
        "output_tokens_details": {"thinking_tokens": thought},
        "service_tier": tier,
    },
    *[COUNT] * 6,
    st.sampled_from(["standard", "priority", "batch"]),
)


def _ends(answer: dict[str, Any]) -> list[dict[str, Any]]:
    called = any(block["type"] == "tool_use" for block in answer["content"])
    refusal = {"type": "refusal", "category": None, "explanation": "It says so."}
    return [
        {"stop_reason": "max_tokens", "stop_sequence": None},
        {"stop_reason": "stop_sequence", "stop_sequence": "END"},
        {"stop_reason": "pause_turn", "stop_sequence": None},
        {"stop_reason": "tool_use" if called else "end_turn", "stop_sequence": None},
        {"stop_reason": "refusal", "stop_sequence": None, "stop_details": refusal},
    ]


ANSWERS = record(
    {
        "id": "msg_0123456789abcdef0123456789abcdef",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": st.lists(SAID | THOUGHTS | CALLS | FOREIGN, min_size=1, max_size=4),
        "usage": USAGES,
    }
).flatmap(lambda answer: st.sampled_from(_ends(answer)).map(lambda stop: {**answer, **stop}))


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def ask(**fields: Any) -> Request:
    return FORMAT.read_request(body({"model": "m", "max_tokens": 100, "messages": [], **fields}))


def frame(value: dict[str, Any], *, named: bool = True) -> bytes:
    name = f"event: {value['type']}\n".encode() if named else b""
    return name + b"data: " + body(value) + b"\n\n"


def frames_of(answer: dict[str, Any], dice: random.Random) -> list[dict[str, Any]]:
    """The stream that tells an answer, its texts cut anywhere."""
    empty: dict[str, Any] = {"stop_reason": None, "stop_sequence": None, "content": []}
    usage = {**answer["usage"], "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}
    frames: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**answer, **empty, "usage": usage}},
        {"type": "ping"},
    ]
    for index, block in enumerate(answer["content"]):
        start, deltas = _deltas(block, dice)
        frames.append({"type": "content_block_start", "index": index, "content_block": start})
        frames += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        frames.append({"type": "content_block_stop", "index": index})
    stop = {name: answer[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in answer}
    told = {name: answer["usage"][name] for name in ("output_tokens", "output_tokens_details")}
    frames += [{"type": "message_delta", "delta": stop, "usage": told}, {"type": "message_stop"}]
    return frames


def _deltas(block: dict[str, Any], dice: random.Random) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in cut(block["text"], dice)]
            deltas += [{"type": "citations_delta", "citation": cited} for cited in block.get("citations", [])]
            return {"type": "text", "text": ""}, deltas
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"], dice)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "tool_use" | "server_tool_use":
            told = json.dumps(block["input"]) if block["input"] else ""
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": p} for p in cut(told, dice)]
        case _:
            return block, []


def cut(text: str, dice: random.Random) -> Iterator[str]:
    while text:
        at = dice.randint(0, 4)
        yield text[:at]
        text = text[at:]


def read_events(reader: EventReader, stream: bytes) -> list[Event]:
    events: list[Event] = []
    for part in split_frames(stream):
        name, data = read_frame(part)
        if data is not None:
            events += reader.read(data, name)
    return [*events, *reader.end()]


def sdk(content: bytes, *, status: int = 200, stream: bool = False) -> Anthropic:
    """The official SDK, with an upstream that answers these bytes."""
    kind = "text/event-stream" if stream else "application/json"

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=content)

    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return Anthropic(api_key="k", base_url="http://gateway", http_client=client, max_retries=0)
