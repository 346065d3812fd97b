"""A whole Responses request, read into the canonical model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import Ask, Cache, Reasoning, Schema, Text
from app.formats.base import Request
from app.formats.body import decode_json
from app.formats.fields import unknown_field
from app.formats.openai_responses.fields import CLIENT_NAMES, DENIED, NAME, NAMES_WITH_USER, TITLE
from app.formats.openai_responses.read_input import InputReader
from app.formats.openai_responses.read_tools import read_choice, read_tools
from app.formats.values import (
    as_array,
    as_boolean,
    as_integer,
    as_number,
    as_object,
    as_optional_string,
    as_string,
    missing,
    refuse,
    wrong_type,
    wrong_value,
)

EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})
SUMMARIES = frozenset({"auto", "concise", "detailed"})


Found = dict[str, Any]
"""What has been read: arguments of `Ask` by name."""


def read_ask(request: Request) -> Ask:
    """See `app.formats.base.Format.read_ask`. Null is absent, and so is a default that asks for nothing."""
    found: Found = {}
    left_out: list[str] = []
    texts: list[Text] = []
    given: object = None
    for name, raw in request.fields.items():
        if name in _KNOWN:
            continue
        value = decode_json(raw)
        if value is None:
            continue
        if name == "input":
            given = value
        elif name == "instructions":
            texts.append(Text(as_string(value, name)))
        elif (read := _READERS.get(name)) is not None:
            read(value, found, left_out)
        elif name in DENIED:
            raise refuse(name, TITLE, DENIED[name])
        else:
            raise unknown_field(name, TITLE)
    if given is None:
        raise missing("input")
    items = InputReader(left_out)
    items.read(given)
    return Ask(
        format=NAME,
        model=request.model,
        stream=request.stream,
        output_cap=request.output_cap,
        system=(*texts, *items.system),
        messages=tuple(items.messages),
        fields=NAMES_WITH_USER if found.pop("older_user", False) else CLIENT_NAMES,
        dropped=tuple(dict.fromkeys(left_out)),
        **found,
    )


def _check_names(value: Mapping[str, object], known: frozenset[str], path: str) -> None:
    for name in value.keys() - known:
        if value[name] is not None:  # a name that is no plain one could not be told
            raise unknown_field(f"{path}.{name}" if name.isidentifier() else path, TITLE)


def _tools(value: object, found: Found, left_out: list[str]) -> None:
    found["tools"] = read_tools(value, left_out)


def _tool_choice(value: object, found: Found, left_out: list[str]) -> None:
    found["tool_choice"] = read_choice(value)


def _parallel(value: object, found: Found, left_out: list[str]) -> None:
    if not as_boolean(value, "parallel_tool_calls"):
        found["parallel_tool_calls"] = False


def _temperature(value: object, found: Found, left_out: list[str]) -> None:
    found["temperature"] = as_number(value, "temperature")


def _top_p(value: object, found: Found, left_out: list[str]) -> None:
    share = as_number(value, "top_p")
    if share != 1:
        found["top_p"] = share


def _top_logprobs(value: object, found: Found, left_out: list[str]) -> None:
    wanted = as_integer(value, "top_logprobs")
    if not 0 <= wanted <= 20:
        raise wrong_value("top_logprobs", "between 0 and 20")
    if wanted:
        found["top_logprobs"], found["logprobs"] = wanted, True


def _include(value: object, found: Found, left_out: list[str]) -> None:
    for at, wanted in enumerate(as_array(value, "include")):
        match wanted:
            case "message.output_text.logprobs":
                found["logprobs"] = True
            case "reasoning.encrypted_content":
                pass  # always given
            case str():
                raise refuse(f"include[{at}]", TITLE, value=wanted)
            case _:
                raise wrong_type(f"include[{at}]", "a string")


def _reasoning(value: object, found: Found, left_out: list[str]) -> None:
    reasoning = as_object(value, "reasoning")
    _check_names(reasoning, frozenset({"effort", "summary", "generate_summary", "context", "mode"}), "reasoning")
    effort = as_optional_string(reasoning.get("effort"), "reasoning.effort")
    if effort is not None and effort not in EFFORTS:
        raise wrong_value("reasoning.effort", "none, minimal, low, medium, high, xhigh or max")
    show: bool | None = None
    for name in ("summary", "generate_summary"):
        summary = as_optional_string(reasoning.get(name), f"reasoning.{name}")
        if summary is not None:
            if summary not in SUMMARIES:
                raise wrong_value(f"reasoning.{name}", "auto, concise or detailed")
            show = True
    if reasoning.get("mode") not in (None, "standard"):
        raise refuse("reasoning.mode", TITLE, value=reasoning["mode"])
    if reasoning.get("context") not in (None, "auto"):
        left_out.append("reasoning.context")
    if effort is not None or show is not None:
        found["reasoning"] = Reasoning(effort, show=show)


def _text(value: object, found: Found, left_out: list[str]) -> None:
    text = as_object(value, "text")
    _check_names(text, frozenset({"format", "verbosity"}), "text")
    verbosity = as_optional_string(text.get("verbosity"), "text.verbosity")
    if verbosity is not None and verbosity not in ("low", "medium", "high"):
        raise wrong_value("text.verbosity", "low, medium or high")
    if verbosity not in (None, "medium"):
        found["verbosity"] = verbosity
    if text.get("format") is not None:
        _format(as_object(text["format"], "text.format"), found)


def _format(form: dict[str, Any], found: Found) -> None:
    match form.get("type"):
        case "text":
            pass
        case "json_object":
            found["response_format"] = Schema(None)
        case "json_schema":
            _check_names(form, frozenset({"type", "name", "schema", "description", "strict"}), "text.format")
            schema, strict = form.get("schema"), form.get("strict")
            found["response_format"] = Schema(
                as_object(schema, "text.format.schema"),
                as_string(form.get("name"), "text.format.name"),
                as_optional_string(form.get("description"), "text.format.description"),
                None if strict is None else as_boolean(strict, "text.format.strict"),
            )
        case None:
            raise missing("text.format.type")
        case _:
            raise wrong_value("text.format.type", "text, json_object or json_schema")


def _service_tier(value: object, found: Found, left_out: list[str]) -> None:
    tier = as_string(value, "service_tier")
    if tier != "auto":
        found["service_tier"] = tier


def _user(value: object, found: Found, left_out: list[str]) -> None:
    if "user" in found:  # both: the newer field counts
        left_out.append("user")
    else:
        found["user"], found["older_user"] = as_string(value, "user"), True


def _safety_identifier(value: object, found: Found, left_out: list[str]) -> None:
    if found.pop("older_user", False):
        left_out.append("user")
    found["user"] = as_string(value, "safety_identifier")


def _metadata(value: object, found: Found, left_out: list[str]) -> None:
    metadata = as_object(value, "metadata")
    if not all(isinstance(text, str) for text in metadata.values()):
        raise wrong_type("metadata", "an object of strings")
    found["metadata"] = metadata


def _cache_key(value: object, found: Found, left_out: list[str]) -> None:
    found["cache_key"] = as_string(value, "prompt_cache_key")


def _cache_options(value: object, found: Found, left_out: list[str]) -> None:
    options = as_object(value, "prompt_cache_options")
    known = frozenset({"mode", "ttl", "prewarm", "comparison_response_id"})
    _check_names(options, known, "prompt_cache_options")
    if options.get("prewarm"):
        raise refuse("prompt_cache_options.prewarm", TITLE)
    if options.get("mode") not in (None, "implicit"):
        left_out.append("prompt_cache_options.mode")
    if options.get("comparison_response_id") is not None:
        left_out.append("prompt_cache_options.comparison_response_id")
    ttl = as_optional_string(options.get("ttl"), "prompt_cache_options.ttl")
    if ttl not in (None, "30m"):  # half an hour is the default
        found["cache"] = Cache(ttl)


def _stream_options(value: object, found: Found, left_out: list[str]) -> None:
    options = as_object(value, "stream_options")
    _check_names(options, frozenset({"include_obfuscation"}), "stream_options")
    if options.get("include_obfuscation"):
        left_out.append("stream_options.include_obfuscation")


def _image(value: object, found: Found, left_out: list[str]) -> None:
    if as_object(value, "image").get("context_compression") not in (None, "auto"):
        left_out.append("image.context_compression")


def _store(value: object, found: Found, left_out: list[str]) -> None:
    if as_boolean(value, "store"):
        left_out.append("store")


def _truncation(value: object, found: Found, left_out: list[str]) -> None:
    if value != "disabled":
        raise refuse("truncation", TITLE, value=value)


def _background(value: object, found: Found, left_out: list[str]) -> None:
    if as_boolean(value, "background"):
        raise refuse("background", TITLE)


def _context_management(value: object, found: Found, left_out: list[str]) -> None:
    if as_array(value, "context_management"):
        raise refuse("context_management", TITLE)


def _leave_out(name: str) -> Callable[[object, Found, list[str]], None]:
    def read(value: object, found: Found, left_out: list[str]) -> None:
        left_out.append(name)

    return read


_KNOWN = frozenset({"model", "stream", "max_output_tokens"})
"""Fields that the request was read for already."""

_READERS: Mapping[str, Callable[[object, Found, list[str]], None]] = MappingProxyType(
    {
        "tools": _tools,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": _parallel,
        "temperature": _temperature,
        "top_p": _top_p,
        "top_logprobs": _top_logprobs,
        "include": _include,
        "reasoning": _reasoning,
        "text": _text,
        "service_tier": _service_tier,
        "user": _user,
        "safety_identifier": _safety_identifier,
        "metadata": _metadata,
        "prompt_cache_key": _cache_key,
        "prompt_cache_options": _cache_options,
        "prompt_cache_retention": _leave_out("prompt_cache_retention"),
        "max_tool_calls": _leave_out("max_tool_calls"),
        "stream_options": _stream_options,
        "image": _image,
        "store": _store,
        "truncation": _truncation,
        "background": _background,
        "context_management": _context_management,
    }
)
