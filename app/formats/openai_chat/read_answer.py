"""A whole Chat Completions answer, read into the canonical one by the same rules as a stream."""

from __future__ import annotations

from typing import Any

from app.core.assembly import assemble
from app.core.conversation import Answer, Event, Reported, Started
from app.errors import bad_upstream_response
from app.formats.openai_chat.read_choice import ChoiceReader
from app.formats.openai_chat.read_values import broken
from app.formats.openai_chat.reply import error_in_body
from app.formats.openai_chat.stream import error_of_frame
from app.formats.openai_chat.usage import read_usage
from app.formats.refusals import load_json


def read_answer(body: bytes, quirks: frozenset[str]) -> Answer:
    """Raises UpstreamError for an error in the body, and for what is no answer."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise bad_upstream_response("The upstream's answer isn't a JSON object.")
    error = error_of_frame(None, value)
    if error is not None:
        raise error_in_body(error)
    choices = value.get("choices")
    if not isinstance(choices, list):
        raise bad_upstream_response("The upstream's answer has no choices.")
    started = read_start(value)
    events: list[Event] = [started]
    for at, choice in enumerate(choices):
        events += _read_choice(choice, at, started.id)
    usage = read_usage(value.get("usage"), quirks, value.get("service_tier"))
    if usage is not None:
        events.append(Reported(usage))
    return assemble(events)


def read_start(value: dict[str, Any]) -> Started:
    """What every chunk, and a whole answer, says of itself; what is missing, or no such thing, is empty."""
    id, model, created = value.get("id"), value.get("model"), value.get("created")
    return Started(
        id if isinstance(id, str) else "",
        model if isinstance(model, str) else "",
        created if isinstance(created, int) else None,
    )


def read_index(choice: dict[str, Any], default: int = 0) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else default


def _read_choice(choice: object, at: int, answer_id: str) -> list[Event]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise broken("message")
    reader = ChoiceReader(read_index(choice, at), answer_id)
    events = reader.take(message, choice.get("logprobs"), whole=True)
    return events + reader.finish(choice.get("finish_reason"), choice.get("stop_reason"))
