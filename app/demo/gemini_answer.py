"""What the demo answers in Gemini's format: the parts of a candidate, why it ends, and what it used."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.demo.gemini_turns import sign_call, sign_text
from app.demo.options import Options
from app.demo.saying import Call, Said, spoil

FINISH_REASONS = {"end": "STOP", "stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "refusal": "SAFETY"}
RATINGS = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]

Part = dict[str, Any]


def write_parts(said: Said, options: Options, extra: str = "") -> list[Part]:
    """The parts of a whole answer; with `extra` after its text."""
    parts: list[Part] = []
    if said.thought is not None:
        parts.append({"text": said.thought.text, "thought": True})
    if said.text is not None and said.stop != "refusal" and (said.text.text or extra):
        part: Part = {"text": said.text.text + extra}
        if said.thought_tokens and not said.calls:
            part["thoughtSignature"] = sign_text(said.text.text)
        parts.append(part)
    return parts + write_calls(said.calls, options)


def write_calls(calls: Sequence[Call], options: Options) -> list[Part]:
    """The calls, the first of them signed. One that the cap cut off is left out: arguments come whole or not at all."""
    parts: list[Part] = []
    for call in calls:
        if not call.arguments.complete:
            continue
        arguments = orjson.loads(call.arguments.text)
        named = {"id": f"call_demo_{call.id}"} if options.call_ids else {}
        part: Part = {"functionCall": {**named, "name": call.name, "args": arguments}}
        if not parts:
            part["thoughtSignature"] = sign_call(call.name, arguments)
        parts.append(part)
    return parts


def write_finish(said: Said, options: Options) -> dict[str, Any]:
    """Why a candidate ends."""
    reason = options.finish or FINISH_REASONS[said.stop]
    return {"finishReason": reason, **({"safetyRatings": RATINGS} if said.stop == "refusal" else {})}


def write_usage(options: Options, prompt: int, said: Said, candidates: int, visible: int) -> dict[str, Any] | None:
    """The usage with so many tokens visible of each candidate; a count of nothing is left out, as protobuf does."""
    thoughts, shown = said.thought_tokens * candidates, visible * candidates
    counts = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": shown,
        "totalTokenCount": prompt + thoughts + shown,
        "cachedContentTokenCount": options.cached,
        "thoughtsTokenCount": thoughts,
    }
    usage: dict[str, Any] = {name: count for name, count in counts.items() if count}
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    return spoil(options, usage)
