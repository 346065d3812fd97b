"""How OpenAI streams a response: written after its API reference, apart from the gateway's own writer, to check against."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

Cut = Callable[[str], list[str]]


def stream_of(response: dict[str, Any], cut: Cut) -> bytes:
    """All events of a response whose texts come in the pieces that `cut` makes."""
    start = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[tuple[str, dict[str, Any]]] = [("created", {"response": start}), ("in_progress", {"response": start})]
    for index, item in enumerate(response["output"]):
        events += [(name, {"output_index": index, **fields}) for name, fields in _item(item, cut)]
    events.append((response["status"], {"response": response}))
    frames = []
    for number, (name, fields) in enumerate(events):
        type = f"response.{name}"
        data = json.dumps({"type": type, "sequence_number": number, **fields})
        frames.append(f"event: {type}\ndata: {data}\n\n".encode())
    return b"".join(frames)


def _item(item: dict[str, Any], cut: Cut) -> Iterator[tuple[str, dict[str, Any]]]:
    empty = {**item, "status": "in_progress"}
    match item["type"]:
        case "message":
            yield "output_item.added", {"item": {**empty, "content": []}}
            for index, part in enumerate(item["content"]):
                at = {"item_id": item["id"], "content_index": index}
                yield from ((name, {**at, **fields}) for name, fields in _part(part, cut))
        case "reasoning":
            yield "output_item.added", {"item": {**empty, "summary": [], "encrypted_content": "partial"}}
            for index, part in enumerate(item["summary"]):
                at = {"item_id": item["id"], "summary_index": index}
                yield "reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}}
                for piece in cut(part["text"]):
                    yield "reasoning_summary_text.delta", {**at, "delta": piece}
                yield "reasoning_summary_text.done", {**at, "text": part["text"]}
                yield "reasoning_summary_part.done", {**at, "part": part}
        case "function_call" | "custom_tool_call":
            words = "arguments" if item["type"] == "function_call" else "input"
            name = "function_call_arguments" if words == "arguments" else "custom_tool_call_input"
            yield "output_item.added", {"item": {**empty, words: ""}}
            for piece in cut(item[words]):
                yield f"{name}.delta", {"item_id": item["id"], "delta": piece}
            yield f"{name}.done", {"item_id": item["id"], words: item[words]}
        case _:
            yield "output_item.added", {"item": empty}
    yield "output_item.done", {"item": item}


def _part(part: dict[str, Any], cut: Cut) -> Iterator[tuple[str, dict[str, Any]]]:
    if part["type"] == "refusal":
        yield "content_part.added", {"part": {**part, "refusal": ""}}
        for piece in cut(part["refusal"]):
            yield "refusal.delta", {"delta": piece}
        yield "refusal.done", {"refusal": part["refusal"]}
        yield "content_part.done", {"part": part}
        return
    yield "content_part.added", {"part": {**part, "text": "", "annotations": [], "logprobs": []}}
    for number, piece in enumerate(cut(part["text"])):
        yield "output_text.delta", {"delta": piece, "logprobs": part["logprobs"] if number == 0 else []}
    for number, source in enumerate(part["annotations"]):
        yield "output_text.annotation.added", {"annotation_index": number, "annotation": source}
    yield "output_text.done", {"text": part["text"], "logprobs": part["logprobs"]}
    yield "content_part.done", {"part": part}
