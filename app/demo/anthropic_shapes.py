"""The shapes of Anthropic's requests: what `POST /v1/messages` and `count_tokens` take, field by field.

From the parameter types of the Python SDK 2.12 and https://platform.claude.com/docs/en/api/versioning. Blocks and tools of
the vendor's own server tools are let through unread.
"""

from app.demo.shapes import Anything, Either, Flag, ListOf, Maybe, Number, Open, Record, Shape, Tagged, Text

TEXT = Text()
NAME = Text(pattern=r"[a-zA-Z0-9_-]{1,128}")
CACHE = Maybe(Record({"type": Text(("ephemeral",))}, {"ttl": Text(("5m", "1h"))}))
CACHED: dict[str, Shape] = {"cache_control": CACHE}
TYPE: dict[str, Shape] = {"type": TEXT}


def _tagged(**kinds: Shape) -> Tagged:
    return Tagged("type", kinds, steps_in=True)


IMAGE_SOURCE = _tagged(
    base64=Record(
        {**TYPE, "media_type": Text(("image/jpeg", "image/png", "image/gif", "image/webp")), "data": TEXT},
    ),
    url=Record({**TYPE, "url": TEXT}),
    file=Record({**TYPE, "file_id": TEXT}),
)
TEXT_BLOCK = Record({**TYPE, "text": TEXT}, {**CACHED, "citations": Maybe(ListOf(Open()))})
IMAGE_BLOCK = Record({**TYPE, "source": IMAGE_SOURCE}, {**CACHED, "transformations": Open()})
DOCUMENT_SOURCE = _tagged(
    base64=Record({**TYPE, "media_type": Text(("application/pdf",)), "data": TEXT}),
    text=Record({**TYPE, "media_type": Text(("text/plain",)), "data": TEXT}),
    content=Record({**TYPE, "content": Either(TEXT, ListOf(_tagged(text=TEXT_BLOCK, image=IMAGE_BLOCK)))}),
    url=Record({**TYPE, "url": TEXT}),
    file=Record({**TYPE, "file_id": TEXT}),
)
DOCUMENT_BLOCK = Record(
    {**TYPE, "source": DOCUMENT_SOURCE},
    {**CACHED, "citations": Maybe(Record(may={"enabled": Flag()})), "context": Maybe(TEXT), "title": Maybe(TEXT)},
)
SEARCH_RESULT_BLOCK = Record(
    {**TYPE, "source": TEXT, "title": TEXT, "content": ListOf(_tagged(text=TEXT_BLOCK))},
    {**CACHED, "citations": Record(may={"enabled": Flag()})},
)
TOOL_USE_BLOCK = Record(
    {**TYPE, "id": Text(pattern="[a-zA-Z0-9_-]+"), "name": NAME, "input": Open()},
    {**CACHED, "caller": Maybe(Open()), "toolset_name": Maybe(TEXT)},
)
TOOL_RESULT_CONTENT = _tagged(
    text=TEXT_BLOCK,
    image=IMAGE_BLOCK,
    document=DOCUMENT_BLOCK,
    search_result=SEARCH_RESULT_BLOCK,
    tool_reference=Open(),
    browser_state=Open(),
)
TOOL_RESULT_BLOCK = Record(
    {**TYPE, "tool_use_id": Text(pattern="[a-zA-Z0-9_-]+")},
    {
        **CACHED,
        "content": Either(TEXT, ListOf(TOOL_RESULT_CONTENT)),
        "is_error": Flag(),
        "toolset_name": Maybe(TEXT),
    },
)
BLOCK = _tagged(
    text=TEXT_BLOCK,
    image=IMAGE_BLOCK,
    document=DOCUMENT_BLOCK,
    search_result=SEARCH_RESULT_BLOCK,
    thinking=Record({**TYPE, "thinking": TEXT, "signature": TEXT}),
    redacted_thinking=Record({**TYPE, "data": TEXT}),
    tool_use=TOOL_USE_BLOCK,
    tool_result=TOOL_RESULT_BLOCK,
    server_tool_use=Open(),
    web_search_tool_result=Open(),
    web_fetch_tool_result=Open(),
    code_execution_tool_result=Open(),
    bash_code_execution_tool_result=Open(),
    text_editor_code_execution_tool_result=Open(),
    tool_search_tool_result=Open(),
    container_upload=Open(),
)
MESSAGE = Record({"role": Text(("user", "assistant", "system")), "content": Either(TEXT, ListOf(BLOCK))})

CUSTOM_TOOL = Record(
    {"name": NAME, "input_schema": Open()},
    {
        **CACHED,
        "type": Maybe(Text(("custom",))),
        "description": TEXT,
        "strict": Flag(),
        "defer_loading": Flag(),
        "eager_input_streaming": Maybe(Flag()),
        "input_examples": ListOf(Open()),
        "allowed_callers": ListOf(TEXT),
    },
)
SERVER_TOOLS = ("bash_", "browser_", "code_execution_", "computer_", "memory_", "text_editor_", "tool_search_", "web_")


class Tool:
    """A function of the client's, or one of the vendor's tools, which are known by the start of their `type`."""

    def read(self, value: object, path: tuple[str | int, ...]) -> object:
        """Raises Misfit."""
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind.startswith(SERVER_TOOLS):
            return value
        return CUSTOM_TOOL.read(value, path)


SERIAL: dict[str, Shape] = {**TYPE, "disable_parallel_tool_use": Flag()}
TOOL_CHOICE = _tagged(
    auto=Record(may=SERIAL), any=Record(may=SERIAL), tool=Record({"name": TEXT}, SERIAL), none=Record(may=TYPE)
)
DISPLAY = Maybe(Text(("summarized", "omitted")))
THINKING = _tagged(
    enabled=Record({**TYPE, "budget_tokens": Number(1024)}, {"display": DISPLAY}),
    adaptive=Record(TYPE, {"display": DISPLAY}),
    disabled=Record(TYPE),
    between_tools=Record(TYPE),
)
OUTPUT_CONFIG = Record(
    may={
        "effort": Maybe(Text(("low", "medium", "high", "xhigh", "max"))),
        "format": Maybe(Record({"type": Text(("json_schema",)), "schema": Open()})),
    }
)
COUNTED: dict[str, Shape] = {
    "cache_control": CACHE,
    "output_config": OUTPUT_CONFIG,
    "speed": Maybe(Text(("standard", "fast"))),
    "system": Either(TEXT, ListOf(_tagged(text=TEXT_BLOCK))),
    "thinking": THINKING,
    "tool_choice": TOOL_CHOICE,
    "tools": ListOf(Tool()),
}
NEEDED: dict[str, Shape] = {"model": TEXT, "messages": ListOf(MESSAGE, most=100_000)}
MESSAGES: dict[str, Shape] = {
    **COUNTED,
    "container": Maybe(Either(TEXT, Open())),
    "diagnostics": Maybe(Open()),
    "inference_geo": Maybe(TEXT),
    "metadata": Record(may={"user_id": Maybe(TEXT)}),
    "service_tier": Text(("auto", "standard_only")),
    "stop_sequences": ListOf(TEXT),
    "stream": Flag(),
}
# Versions before 2026-10-21 take them; since then they are fields like any other that isn't known.
SAMPLING: dict[str, Shape] = {
    "temperature": Number(0, 1, fractions=True),
    "top_p": Number(0, 1, fractions=True),
    "top_k": Number(0),
}
# What a beta header lets in, at the top: the types of the SDK's `beta` client.
BETA: dict[str, Shape] = {
    name: Anything()
    for name in (
        "billing_policy", "compaction", "context_management", "fallback_credit_token", "fallbacks", "mcp_servers", "thread"
    )
}  # fmt: skip


def create_shape(*, modern: bool, beta: bool) -> Record:
    """The body of `POST /v1/messages`."""
    extra = {} if modern else SAMPLING
    return Record({**NEEDED, "max_tokens": Number(0)}, {**MESSAGES, **extra, **(BETA if beta else {})})


def count_shape(*, beta: bool) -> Record:
    """The body of `POST /v1/messages/count_tokens`."""
    return Record(NEEDED, {**COUNTED, **(BETA if beta else {})})
