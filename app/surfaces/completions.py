"""`/v1/completions`: text that goes on where a prompt ends, as models did before chat.

Source: openai-python, `types/completion_create_params.py`; `max_tokens` is 16 where a request names none.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.tokens import count_long_text
from app.core.usage import Usage
from app.errors import invalid_request
from app.formats.base import Tap
from app.formats.body import MAX_OUTPUT_CAP, read_boolean, read_count, read_field, read_fields, read_model
from app.formats.openai_chat.request import include_usage, with_usage
from app.formats.openai_chat.stream import ChatTap
from app.formats.openai_chat.usage import read_usage
from app.formats.refusals import load_json
from app.surfaces.base import OpenAISurface, SurfaceRequest, both
from app.surfaces.counting import bound_inputs, count_inputs, fair_inputs
from app.surfaces.openai import OpenAIWire, write_fields

DEFAULT_CAP = 16
MAX_CHOICES = 128
MAX_PROMPTS = 10_000

_suffix = msgspec.json.Decoder(str | None)
_prompt = msgspec.json.Decoder(str | list[str | int | list[int]] | None)


@dataclass(frozen=True, slots=True)
class CompletionFacts:
    """`inputs`: the prompts, each with what stands behind the gap. `capped`: the request says how much may be written.
    `wants_usage`: a stream's client asked for it.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    capped: bool
    wants_usage: bool


class CompletionWire(OpenAIWire):
    """Streams are made to tell their usage. The default of `max_tokens` is spelt out: some servers (Ollama, llama.cpp) have
    none, and would write on until nobody can pay for it.
    """

    def __init__(self) -> None:
        super().__init__(
            lambda reply: read_usage(reply.get("usage"), service_tier=reply.get("service_tier")), field="choices"
        )

    def write(self, request: SurfaceRequest, model: str) -> bytes:
        facts: CompletionFacts = request.facts
        values: dict[str, object] = {"model": model}
        if not facts.capped:
            values["max_tokens"] = DEFAULT_CAP
        if request.stream and not facts.wants_usage:
            values["stream_options"] = with_usage(request.fields.get("stream_options"))
        return write_fields(request, **values)

    def open_tap(self, request: SurfaceRequest) -> Tap:
        facts: CompletionFacts = request.facts
        return CompletionTap(keep_usage=facts.wants_usage)


class CompletionTap(ChatTap):
    """As chat's, but for where a choice has its text."""

    __slots__ = ()

    def _text_of(self, choice: object) -> str:
        return text_of(choice)


class Completions(OpenAISurface):
    """See `app.surfaces.base.Surface`."""

    name = "completions"
    title = "OpenAI Completions"
    paths = both("/completions")
    kinds = frozenset({"completion", "chat"})

    def __init__(self) -> None:
        self.wires = MappingProxyType({"openai": CompletionWire()})

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        fields = read_fields(body)
        model = read_model(fields)
        prompts = _read_prompts(fields)
        suffix = read_field(fields, "suffix", _suffix, "a string")
        inputs = prompts if not suffix else (*prompts, *[suffix] * len(prompts))
        choices = max(read_count(fields, name, MAX_CHOICES) or 1 for name in ("n", "best_of"))
        said = read_count(fields, "max_tokens", MAX_OUTPUT_CAP, least=0)  # 0 with `echo` scores a prompt
        cap = DEFAULT_CAP if said is None else said
        made = cap * choices * len(prompts)
        return SurfaceRequest(
            model=model,
            most=Usage(input_tokens=bound_inputs(inputs), output_tokens=made),
            fair=Usage(input_tokens=fair_inputs(inputs)),
            stream=read_boolean(fields, "stream"),
            output_cap=cap,
            body=body,
            fields=fields,
            facts=CompletionFacts(inputs, said is not None, include_usage(fields)),
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        facts: CompletionFacts = request.facts
        produced = _texts_of(answer) if tap is None else tap.produced_text()
        return Usage(input_tokens=count_inputs(facts.inputs), output_tokens=count_long_text(produced))


def _read_prompts(fields: dict[str, msgspec.Raw]) -> tuple[str | tuple[int, ...], ...]:
    value = read_field(fields, "prompt", _prompt, "a string, an array of strings, or tokens")
    if value is None or isinstance(value, str):
        return (value or "",)
    if value and all(isinstance(item, int) for item in value):
        return (tuple(value),)
    if not 0 < len(value) <= MAX_PROMPTS or any(isinstance(item, int) for item in value):
        message = f"'prompt' must be one text or 1 to {MAX_PROMPTS} of them, all as text or all as tokens."
        raise invalid_request(message, "prompt", "invalid_value")
    return tuple(item if isinstance(item, str) else tuple(item) for item in value)


def text_of(choice: object) -> str:
    """A choice's text."""
    text = choice.get("text") if isinstance(choice, dict) else None
    return text if isinstance(text, str) else ""


def _texts_of(answer: bytes) -> str:
    value: Any = load_json(answer)
    choices = value.get("choices") if isinstance(value, dict) else None
    return "".join(map(text_of, choices)) if isinstance(choices, list) else ""
