"""A whole Chat Completions request, read into the canonical model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import Ask, Cache
from app.formats.base import Request
from app.formats.body import decode_json, is_set
from app.formats.fields import unknown_field
from app.formats.openai_chat.fields import CLIENT_NAMES, DENIED, LEFT_OUT, NAME, TITLE
from app.formats.openai_chat.read_messages import MessageReader
from app.formats.openai_chat.read_reasoning import FIELDS as REASONING_FIELDS
from app.formats.openai_chat.read_reasoning import ReasoningReader
from app.formats.openai_chat.read_tools import read_choice, read_schema, read_tools
from app.formats.values import (
    as_array,
    as_boolean,
    as_integer,
    as_number,
    as_object,
    as_optional_string,
    as_string,
    note_others,
    refuse,
    wrong_type,
    wrong_value,
)

VERBOSITIES = ("low", "medium", "high")
MOST_LOGPROBS = 20


_KNOWN = frozenset({"model", "stream", "messages", "max_completion_tokens", "max_tokens", "n"})
"""What `Request` holds already, and the messages."""

Found = dict[str, Any]
"""What has been read: arguments of `Ask` by name."""


def read_ask(request: Request) -> Ask:
    """See `app.formats.base.Format.read_ask`. Null is absent, and so is a default that asks for nothing."""
    left_out: list[str] = []
    found: Found = {}
    names: dict[str, str] = {}
    reasoning = ReasoningReader()
    for name, raw in request.fields.items():
        if name in _KNOWN:
            continue
        value = decode_json(raw)
        if value is None:
            continue
        read = _READERS.get(name)
        if read is not None:
            read(value, found, left_out)
        elif name in REASONING_FIELDS:
            reasoning.read(name, value, left_out)
        else:
            _read_odd(name, value, left_out)
    if reasoning.field is not None:
        found["reasoning"] = reasoning.whole()
        names["reasoning"] = reasoning.field
    _name_user(found, names, left_out)
    if request.output_cap is not None and not is_set(request.fields.get("max_completion_tokens")):
        names["output_cap"] = "max_tokens"
    messages = MessageReader(left_out)
    messages.read(decode_json(request.conversation))
    if messages.thoughts is not None:
        names["thinking"] = messages.thoughts
    return Ask(
        format=NAME,
        model=request.model,
        stream=request.stream,
        output_cap=request.output_cap,
        choices=request.choices,
        system=tuple(messages.system),
        messages=tuple(messages.messages),
        fields={**CLIENT_NAMES, **names} if names else CLIENT_NAMES,
        dropped=tuple(dict.fromkeys(left_out)),
        **found,
    )


def _read_odd(name: str, value: object, left_out: list[str]) -> None:
    """A field that no other format has: advisory, refused, or unknown."""
    if name in LEFT_OUT:
        left_out.append(name)
    elif name in DENIED:
        if value not in ({}, []):
            raise refuse(name, TITLE, DENIED[name])
    else:
        raise unknown_field(name, TITLE)


def _name_user(found: Found, names: dict[str, str], left_out: list[str]) -> None:
    """`safety_identifier` is what `user` is called now: where both stand, the older one is left out."""
    safe = found.pop("safety_identifier", None)
    if safe is None:
        return
    if found.get("user") not in (None, safe):
        left_out.append("user")
    found["user"] = safe
    names["user"] = "safety_identifier"


def _tools(value: object, found: Found, left_out: list[str]) -> None:
    found["tools"] = read_tools(value, left_out)


def _tool_choice(value: object, found: Found, left_out: list[str]) -> None:
    found["tool_choice"] = read_choice(value)


def _parallel(value: object, found: Found, left_out: list[str]) -> None:
    if not as_boolean(value, "parallel_tool_calls"):
        found["parallel_tool_calls"] = False


def _temperature(value: object, found: Found, left_out: list[str]) -> None:
    found["temperature"] = as_number(value, "temperature")


def _number(name: str, default: float) -> Callable[[object, Found, list[str]], None]:
    def read(value: object, found: Found, left_out: list[str]) -> None:
        number = as_number(value, name)
        if number != default:
            found[name] = number

    return read


def _integer(name: str) -> Callable[[object, Found, list[str]], None]:
    def read(value: object, found: Found, left_out: list[str]) -> None:
        found[name] = as_integer(value, name)

    return read


def _stop(value: object, found: Found, left_out: list[str]) -> None:
    if isinstance(value, str):
        found["stop"] = (value,)
    elif isinstance(value, list):
        found["stop"] = tuple([as_string(entry, f"stop[{at}]") for at, entry in enumerate(value)])
    else:
        raise wrong_type("stop", "a string or an array")


def _logprobs(value: object, found: Found, left_out: list[str]) -> None:
    found["logprobs"] = as_boolean(value, "logprobs")


def _top_logprobs(value: object, found: Found, left_out: list[str]) -> None:
    wanted = as_integer(value, "top_logprobs")
    if not 0 <= wanted <= MOST_LOGPROBS:
        raise wrong_value("top_logprobs", f"between 0 and {MOST_LOGPROBS}")
    found["top_logprobs"] = wanted or None


def _response_format(value: object, found: Found, left_out: list[str]) -> None:
    found["response_format"] = read_schema(value, left_out)


def _verbosity(value: object, found: Found, left_out: list[str]) -> None:
    verbosity = as_string(value, "verbosity")
    if verbosity not in VERBOSITIES:
        raise wrong_value("verbosity", f"one of {', '.join(VERBOSITIES)}")
    if verbosity != "medium":
        found["verbosity"] = verbosity


def _service_tier(value: object, found: Found, left_out: list[str]) -> None:
    tier = as_string(value, "service_tier")
    if tier != "auto":
        found["service_tier"] = tier


def _text(name: str, attribute: str) -> Callable[[object, Found, list[str]], None]:
    def read(value: object, found: Found, left_out: list[str]) -> None:
        found[attribute] = as_string(value, name)

    return read


def _metadata(value: object, found: Found, left_out: list[str]) -> None:
    pairs = as_object(value, "metadata")
    found["metadata"] = {name: as_string(text, f"metadata.{name}") for name, text in pairs.items()}


def _modalities(value: object, found: Found, left_out: list[str]) -> None:
    kinds = tuple([as_string(kind, f"modalities[{at}]") for at, kind in enumerate(as_array(value, "modalities"))])
    if kinds != ("text",):
        found["modalities"] = kinds


def _store(value: object, found: Found, left_out: list[str]) -> None:
    if as_boolean(value, "store"):
        left_out.append("store")


def _stream_options(value: object, found: Found, left_out: list[str]) -> None:
    options = as_object(value, "stream_options")
    note_others(options, frozenset({"include_usage"}), "stream_options", "stream_options", TITLE, left_out)


def _cache_options(value: object, found: Found, left_out: list[str]) -> None:
    """`explicit` turns OpenAI's own caching off, which no other format can be asked for."""
    options = as_object(value, "prompt_cache_options")
    note_others(options, frozenset({"mode", "ttl"}), "prompt_cache_options", "prompt_cache_options", TITLE, left_out)
    if options.get("mode") == "explicit":
        left_out.append("prompt_cache_options")
    else:
        found["cache"] = Cache(as_optional_string(options.get("ttl"), "prompt_cache_options.ttl"))


_READERS: Mapping[str, Callable[[Any, Found, list[str]], None]] = MappingProxyType(
    {
        "tools": _tools,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": _parallel,
        "temperature": _temperature,
        "top_p": _number("top_p", 1.0),
        "top_k": _integer("top_k"),
        "presence_penalty": _number("presence_penalty", 0.0),
        "frequency_penalty": _number("frequency_penalty", 0.0),
        "seed": _integer("seed"),
        "stop": _stop,
        "logprobs": _logprobs,
        "top_logprobs": _top_logprobs,
        "response_format": _response_format,
        "verbosity": _verbosity,
        "service_tier": _service_tier,
        "user": _text("user", "user"),
        "safety_identifier": _text("safety_identifier", "safety_identifier"),
        "metadata": _metadata,
        "modalities": _modalities,
        "prompt_cache_key": _text("prompt_cache_key", "cache_key"),
        "prompt_cache_options": _cache_options,
        "store": _store,
        "stream_options": _stream_options,
    }
)
