"""What the demo answers to an OpenAI chat request, before it is written whole or as a stream."""

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answers import DEFAULT_TEXT, Answer, Writer
from app.demo.journal import Entry
from app.demo.openai_request import ChatRequest, last_user_text, read_function_tool, read_messages
from app.demo.options import Options

# Dialects that show their reasoning, and the field they show it in.
REASONING_FIELDS = {"deepseek": "reasoning_content", "ollama": "reasoning", "vllm": "reasoning"}
SHOWN_REASONING_TOKENS = 8
HUGE = 10**15
FILLER = " demo"
FILTERED = {
    "hate": {"filtered": False, "severity": "safe"},
    "violence": {"filtered": False, "severity": "safe"},
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; `arguments` spells a JSON object."""

    id: str
    name: str
    arguments: Answer


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

    `usage` is the object to report, None when it is withheld. Compared by identity, as a cheap cache key.
    """

    asked: Asked
    choices: int
    answer: Answer
    reasoning: Answer | None
    tool: ToolCall | None
    finish_reason: str
    usage: dict[str, Any] | None


def compose(writer: Writer, asked: Asked) -> Reply:
    """Writes the reply to a request; the caps hold for reasoning and text together."""
    options, limit = asked.options, asked.request.limit
    field = REASONING_FIELDS.get(options.dialect)
    thought_tokens = options.reasoning or (SHOWN_REASONING_TOKENS if field else 0)
    if limit is not None:
        thought_tokens = min(thought_tokens, limit)
        limit -= thought_tokens
    tool = _call_tool(writer, asked, limit) if options.tool else None
    if tool is not None:
        answer, finish_reason = tool.arguments, "tool_calls"
    else:
        answer, finish_reason = writer.write(_choose_text(writer, asked), chunks=options.chunks, limit=limit), "stop"
        if options.surrogates:
            answer = writer.with_surrogates(answer)
    choices = asked.request.n or 1
    return Reply(
        asked=asked,
        choices=choices,
        answer=answer,
        reasoning=writer.write(writer.words(thought_tokens)) if field else None,
        tool=tool,
        finish_reason=finish_reason if answer.complete else "length",
        usage=count_usage(options, asked.prompt_tokens, answer.tokens * choices, thought_tokens * choices),
    )


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


def write_reply(reply: Reply) -> bytes:
    """The reply's `chat.completion` from `model` on, so that it goes behind any `head`."""
    options = reply.asked.options
    message: dict[str, Any] = {"role": "assistant", "content": reply.answer.text, "refusal": None, "annotations": []}
    if reply.reasoning is not None:
        message[REASONING_FIELDS[options.dialect]] = reply.reasoning.text
    if reply.tool is not None:
        function = {"name": reply.tool.name, "arguments": reply.tool.arguments.text}
        message["content"] = None
        message["tool_calls"] = [{"id": reply.tool.id, "type": "function", "function": function}]
    rest: dict[str, Any] = {"message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    body: dict[str, Any] = {
        "model": reply.asked.model,
        "choices": [{"index": index, **rest, **choice_extras(options)} for index in range(reply.choices)],
    }
    if reply.usage is not None:
        body["usage"] = reply.usage
    body["service_tier"] = "default"
    body["system_fingerprint"] = "fp_demo"
    if options.dialect == "azure":
        body["prompt_filter_results"] = prompt_filter_results()
    return b"," + orjson.dumps(body)[1:]


def write_head(entry: Entry, kind: str) -> bytes:
    """The fields in front, which differ from answer to answer."""
    return f'{{"id":"chatcmpl-demo-{entry.id:08d}","object":"{kind}","created":{int(entry.started_at)}'.encode()


def write_big_reply(reply: Reply, head: bytes, size: int) -> bytes:
    """The whole JSON lengthened to `size` bytes; blanks make up for digits that usage gained."""
    asked = reply.asked
    extra, body = 0, head + write_reply(reply)
    for _ in range(4):
        if len(body) == size:
            break
        extra = max(0, extra + size - len(body))
        whole, rest = divmod(extra, len(FILLER))
        text = reply.answer.text + FILLER * whole + FILLER[:rest]
        tokens = reply.answer.tokens + whole + (rest > 0)
        usage = count_usage(asked.options, asked.prompt_tokens, tokens * reply.choices, 0)
        answer = Answer(text, (), tokens, complete=True)
        body = head + write_reply(dataclasses.replace(reply, answer=answer, usage=usage))
    return body.ljust(size)


def choice_extras(options: Options) -> dict[str, Any]:
    """The fields that a dialect adds to each choice."""
    match options.dialect:
        case "azure":
            return {"content_filter_results": FILTERED}
        case "vllm":
            return {"stop_reason": None, "token_ids": None}
        case _:
            return {}


def prompt_filter_results() -> list[dict[str, Any]]:
    """What Azure found in the prompt."""
    return [{"prompt_index": 0, "content_filter_results": FILTERED}]


def _choose_text(writer: Writer, asked: Asked) -> str:
    options = asked.options
    if options.reply is not None:
        text = options.reply
    elif options.echo:
        text = last_user_text(read_messages(asked.request.messages))
    elif options.tokens is not None or options.chunks is not None:
        text = writer.words(options.tokens if options.tokens is not None else options.chunks or 0)
    else:
        text = DEFAULT_TEXT
    return f"{text} (key: {asked.credential})" if options.echo_key else text


def _call_tool(writer: Writer, asked: Asked, limit: int | None) -> ToolCall | None:
    request = asked.request
    tool = read_function_tool(request.tools)
    if tool is None or read_messages(request.messages)[-1].get("role") == "tool":
        return None
    name, schema = tool
    properties = schema.get("properties")
    filled = {key: _sample(value) for key, value in properties.items()} if isinstance(properties, dict) else {}
    arguments = writer.write(orjson.dumps(filled).decode(), chunks=asked.options.chunks, limit=limit)
    # Another turn of the conversation, another id.
    return ToolCall(f"call_demo_{zlib.crc32(request.messages):08x}", name, arguments)


def _sample(schema: object) -> object:
    """A value that fits a property's schema, as far as its type or its enum tells."""
    samples: dict[str, object] = {
        "integer": 1,
        "number": 1.5,
        "boolean": True,
        "array": [],
        "object": {},
        "null": None,
    }
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"type": str(kind)}:
            return samples.get(kind, "demo")
        case _:
            return "demo"
