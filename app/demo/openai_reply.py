"""What the demo answers to an OpenAI chat request, before it is written whole or as a stream."""

from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answers import Answer, Writer
from app.demo.journal import Entry
from app.demo.openai_dialects import choice_extras, prompt_filter_results, reasoning_field
from app.demo.openai_request import (
    ChatRequest,
    choose_tools,
    last_user_text,
    read_messages,
    read_raw,
    read_schema,
    read_stops,
)
from app.demo.options import Options
from app.demo.saying import HUGE, SHOWN_REASONING_TOKENS, Call, Said, Wanted, say
from app.demo.signing import sign

FINISH_REASONS = {"end": "stop", "stop": "stop", "length": "length", "tools": "tool_calls", "refusal": "stop"}
SIGNATURE_KIND = "openrouter"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply is composed from: the request, its options, its prompt tokens and the received key."""

    request: ChatRequest
    model: str
    options: Options
    prompt_tokens: int
    credential: str


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """One reply, the same whenever the same is asked; its `choices` are all alike.

    `reasoning_field` is where its reasoning is shown, None where it isn't. `usage` is the object to report, None when it is
    withheld; `long` that of `said`, asked only once. Compared by identity, as a cheap cache key.
    """

    asked: Asked
    choices: int
    said: Said
    reasoning_field: str | None
    usage: dict[str, Any] | None
    long: bool

    @property
    def finish_reason(self) -> str:
        """Why it ends."""
        return self.asked.options.finish or FINISH_REASONS[self.said.stop]


def compose(writer: Writer, asked: Asked) -> Reply:
    """Writes the reply to a request; the caps hold for reasoning and text together."""
    request, options = asked.request, asked.options
    field = reasoning_field(options, request)
    tools, forced = choose_tools(request) if request.tools else ([], False)
    wanted = Wanted(
        options=options,
        credential=asked.credential,
        turn=bytes(request.messages),
        user_text=last_user_text(read_messages(request.messages)) if options.echo else "",
        tools=tools,
        most_calls=1 if read_raw(request.parallel_tool_calls) is False else None,
        forced=forced,
        answered=bool(tools) and read_messages(request.messages)[-1].get("role") == "tool",
        limit=request.limit,
        stops=read_stops(request.stop),
        thinks=SHOWN_REASONING_TOKENS if field else 0,
        shows_thought=field is not None,
        schema=read_schema(request.response_format),
    )
    said, choices = say(writer, wanted), request.n or 1
    usage = count_usage(options, asked.prompt_tokens, said.tokens * choices, said.thought_tokens * choices)
    return Reply(asked, choices, said, field, usage, said.long)


def count_usage(options: Options, prompt: int, visible: int, reasoning: int) -> dict[str, Any] | None:
    """The usage object in the dialect's shape, spoiled as `usage=` asks; None for `usage=missing`."""
    if options.reports("missing"):
        return None
    completion = visible if options.dialect == "xai" else visible + reasoning
    counts: tuple[object, object, object] = (prompt, completion, prompt + visible + reasoning)
    cached = options.cached
    if options.usage:
        if options.reports("zero"):
            counts, cached, reasoning = (0, 0, 0), 0, 0
        elif options.reports("huge"):
            counts = (HUGE, HUGE, 2 * HUGE)
        elif options.reports("negative"):
            counts = (-prompt, -completion, -prompt - completion)
        elif options.reports("string"):
            counts = (str(prompt), str(completion), str(prompt + completion))
    usage: dict[str, Any] = {
        "prompt_tokens": counts[0],
        "completion_tokens": counts[1],
        "total_tokens": counts[2],
    }
    if options.dialect != "ollama":
        usage["prompt_tokens_details"] = {"cached_tokens": cached, "audio_tokens": 0}
        if options.cache_written:
            usage["prompt_tokens_details"]["cache_write_tokens"] = options.cache_written
        usage["completion_tokens_details"] = {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    if options.dialect == "deepseek":
        usage["prompt_cache_hit_tokens"] = cached
        usage["prompt_cache_miss_tokens"] = max(prompt - cached, 0)
    return usage


def write_reply(reply: Reply, extra: str = "") -> bytes:
    """The reply's `chat.completion` from `model` on, so that it goes behind any `head`; with `extra` after its text."""
    asked, said = reply.asked, reply.said
    options, usage = asked.options, reply.usage
    text = None if said.text is None else said.text.text + extra
    if extra:
        # The filler is one token a word, and what is left of the last word one more.
        tokens = said.tokens + extra.count(" ")
        usage = count_usage(options, asked.prompt_tokens, tokens * reply.choices, said.thought_tokens * reply.choices)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if said.stop == "refusal":
        message |= {"content": None, "refusal": text}
    if reply.reasoning_field is not None and said.thought is not None:
        message[reply.reasoning_field] = said.thought.text
        if options.dialect == "openrouter":
            message["reasoning_details"] = [detail_of(said.thought.text, signed=said.thought)]
    if said.calls:
        message["tool_calls"] = [{**name_call(call), "function": _write_function(call)} for call in said.calls]
    rest: dict[str, Any] = {"message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    rest |= choice_extras(options, said.matched, reply.finish_reason)
    body: dict[str, Any] = {
        "model": asked.model,
        "choices": [{"index": index, **rest} for index in range(reply.choices)],
    }
    if usage is not None:
        body["usage"] = usage
    body["service_tier"] = "default"
    body["system_fingerprint"] = "fp_demo"
    if options.dialect == "azure":
        body["prompt_filter_results"] = prompt_filter_results()
    return b"," + orjson.dumps(body)[1:]


def name_call(call: Call) -> dict[str, Any]:
    """The fields of a call that come before its function."""
    return {"id": f"call_demo_{call.id}", "type": "function"}


def detail_of(text: str, *, signed: Answer | None = None) -> dict[str, Any]:
    """One of OpenRouter's `reasoning_details`; with the signature of what is `signed` at its end."""
    signature = None if signed is None else sign(SIGNATURE_KIND, signed.text)
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": "anthropic-claude-v1", "index": 0}


def _write_function(call: Call) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments.text}


def write_head(entry: Entry, kind: str) -> bytes:
    """The fields in front, which differ from answer to answer."""
    return f'{{"id":"chatcmpl-demo-{entry.id:08d}","object":"{kind}","created":{int(entry.started_at)}'.encode()
