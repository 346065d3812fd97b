"""What the demo answers in the format of OpenAI's Responses: output items, the response around them, and what it used."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from app.demo.answers import Answer
from app.demo.options import Options
from app.demo.responses_request import SIGNATURE_KIND, Question
from app.demo.saying import Call, Said, spoil
from app.demo.signing import seal

CITED = {"type": "url_citation", "url": "https://example.com/", "title": "Example", "start_index": 0, "end_index": 1}
# What a response repeats of its request, and what stands there when the request doesn't say.
ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}


@dataclass(frozen=True, slots=True)
class Item:
    """One output item as it ends, and the answer that streams into it; None where nothing does."""

    whole: dict[str, Any]
    answer: Answer | None


def write_items(said: Said, question: Question, options: Options) -> list[Item]:
    """The output items."""
    items = []
    if said.thought_tokens:
        items.append(_write_reasoning(said, question))
    if said.text is not None:
        items.append(_write_message(said.text, options, refused=said.stop == "refusal"))
    return items + [_write_call(call) for call in said.calls]


def lengthen(output: list[dict[str, Any]], extra: str) -> list[dict[str, Any]]:
    """The output with `extra` after the text of its message."""
    longer = []
    for item in output:
        if extra and item["type"] == "message" and item["content"][0]["type"] == "output_text":
            part = {**item["content"][0], "text": item["content"][0]["text"] + extra}
            longer.append({**item, "content": [part]})
        else:
            longer.append(item)
    return longer


def write_response(
    name: str, question: Question, options: Options, said: Said, items: list[Item], prompt: int
) -> dict[str, Any]:
    """The response in its final form."""
    body = question.body
    reason = options.finish or ("max_output_tokens" if said.stop == "length" else None)
    created = int(time.time())
    usage = write_usage(options, prompt, said)
    return {
        "id": f"resp_{secrets.token_hex(24)}",
        "object": "response",
        "created_at": created,
        "status": "completed" if reason is None else "incomplete",
        "background": bool(body.get("background")),
        "completed_at": created if reason is None else None,
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": name,
        "output": [item.whole for item in items],
        "reasoning": {"effort": question.reasoning.get("effort"), "summary": question.reasoning.get("summary")},
        "service_tier": "default",
        "text": body.get("text") or {"format": {"type": "text"}},
        **{field: default if body.get(field) is None else body[field] for field, default in ECHOED.items()},
        **({} if usage is None else {"usage": usage}),
    }


def write_usage(options: Options, prompt: int, said: Said) -> dict[str, Any] | None:
    """The usage object: cached tokens are within the input, reasoning is within the output."""
    output = said.tokens + said.thought_tokens
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": options.cached, "cache_write_tokens": options.cache_written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": said.thought_tokens},
        "total_tokens": prompt + output,
    }
    return spoil(options, usage)


def new_id(start: str) -> str:
    """An id; two runs of the demo must not share one."""
    return f"{start}_{secrets.token_hex(24)}"


def _write_reasoning(said: Said, question: Question) -> Item:
    shown = said.thought if question.shows_summary else None
    summary = [] if shown is None else [{"type": "summary_text", "text": shown.text}]
    item_id = new_id("rs")
    # The SDK says of it: there by default, whether `include` names it or not.
    sealed = seal(SIGNATURE_KIND, item_id)
    return Item({"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": sealed}, shown)


def _write_message(text: Answer, options: Options, *, refused: bool) -> Item:
    part: dict[str, Any] = {"type": "refusal", "refusal": text.text}
    if not refused:
        annotations = [CITED] if options.citations else []
        part = {"type": "output_text", "annotations": annotations, "logprobs": [], "text": text.text}
    status = "completed" if text.complete else "incomplete"
    whole = {"id": new_id("msg"), "type": "message", "status": status, "content": [part], "role": "assistant"}
    return Item(whole, text)


def _write_call(call: Call) -> Item:
    return Item(
        {
            "id": new_id("fc"),
            "type": "function_call",
            "status": "completed" if call.arguments.complete else "incomplete",
            "arguments": call.arguments.text,
            "call_id": f"call_demo_{call.id}",
            "name": call.name,
        },
        call.arguments,
    )
