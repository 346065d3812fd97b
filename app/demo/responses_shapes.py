"""The shapes of requests for OpenAI's Responses: what `POST /v1/responses` and `input_tokens` take, field by field.

From the parameter types of the Python SDK 3.54. Items and tools that OpenAI itself runs are let through unread.
"""

from app.demo.shapes import (
    Anything,
    Either,
    Flag,
    ListOf,
    MapOf,
    Maybe,
    Misfit,
    Number,
    Open,
    Path,
    Record,
    Shape,
    Tagged,
    Text,
)

TEXT = Text()
TYPE: dict[str, Shape] = {"type": TEXT}
STATUS: dict[str, Shape] = {"status": Maybe(Text(("in_progress", "completed", "incomplete")))}
BREAKPOINT: dict[str, Shape] = {"prompt_cache_breakpoint": Maybe(Open())}

INPUT_PARTS: dict[str, Shape] = {
    "input_text": Record({**TYPE, "text": TEXT}, BREAKPOINT),
    "input_image": Record(
        TYPE,
        {
            **BREAKPOINT,
            "image_url": Maybe(TEXT),
            "file_id": Maybe(TEXT),
            "detail": Maybe(Text(("low", "high", "auto", "original"))),
        },
    ),
    "input_file": Record(
        TYPE,
        {
            **BREAKPOINT,
            "file_data": Maybe(TEXT),
            "file_id": Maybe(TEXT),
            "file_url": Maybe(TEXT),
            "filename": Maybe(TEXT),
            "detail": Text(("auto", "low", "high")),
        },
    ),
}
OUTPUT_PARTS: dict[str, Shape] = {
    "output_text": Record({**TYPE, "text": TEXT}, {"annotations": ListOf(Open()), "logprobs": Maybe(ListOf(Open()))}),
    "refusal": Record({**TYPE, "refusal": TEXT}),
}


class Message:
    """A message; the role decides what its content may hold."""

    def read(self, value: object, path: Path) -> object:
        """Raises Misfit."""
        role = value.get("role") if isinstance(value, dict) else None
        return (FROM_MODEL if role == "assistant" else TO_MODEL).read(value, path)


def _message(*roles: str, parts: dict[str, Shape]) -> Record:
    return Record(
        {"role": Text(roles), "content": Either(TEXT, ListOf(Tagged("type", parts)))},
        {**TYPE, **STATUS, "id": Maybe(TEXT), "phase": Maybe(Text(("commentary", "final_answer")))},
    )


FROM_MODEL = _message("assistant", parts=OUTPUT_PARTS)
TO_MODEL = _message("user", "assistant", "system", "developer", parts=INPUT_PARTS)
SUMMARY = Record({"type": Text(("summary_text",)), "text": TEXT})
OPEN_ITEMS = (
    "file_search_call", "computer_call", "computer_call_output", "web_search_call", "tool_search_call",
    "tool_search_output", "additional_tools", "compaction", "image_generation_call", "code_interpreter_call",
    "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call",
    "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "mcp_call",
    "custom_tool_call", "custom_tool_call_output", "program", "program_output", "item_reference",
)  # fmt: skip
ITEM = Tagged(
    "type",
    {
        "message": Message(),
        "function_call": Record(
            {**TYPE, "call_id": TEXT, "name": TEXT, "arguments": TEXT},
            {**STATUS, "id": Maybe(TEXT), "caller": Maybe(Open()), "namespace": Maybe(TEXT), "async": Maybe(Flag())},
        ),
        "function_call_output": Record(
            {**TYPE, "call_id": TEXT, "output": Either(TEXT, ListOf(Tagged("type", INPUT_PARTS)))},
            {**STATUS, "id": Maybe(TEXT), "caller": Maybe(Open()), "name": Maybe(TEXT), "namespace": Maybe(TEXT)},
        ),
        "reasoning": Record(
            {**TYPE, "summary": ListOf(SUMMARY)},
            {
                **STATUS,
                "id": Maybe(TEXT),
                "content": Maybe(ListOf(Record({"type": Text(("reasoning_text",)), "text": TEXT}))),
                "encrypted_content": Maybe(TEXT),
            },
        ),
        **{name: Open() for name in OPEN_ITEMS},
    },
    default="message",
)


class Tool:
    """A function of the client's, or another kind of tool, which is let through unread if it names its type."""

    def read(self, value: object, path: Path) -> object:
        """Raises Misfit."""
        if isinstance(value, dict) and value.get("type") != "function":
            if not isinstance(value.get("type"), str):
                raise Misfit((*path, "type"), "missing", ())
            return value
        if isinstance(value, dict) and "name" not in value:
            # Named first, before the `function` of a tool in the shape of chat completions.
            raise Misfit((*path, "name"), "missing", ())
        return FUNCTION.read(value, path)


FUNCTION = Record(
    {**TYPE, "name": Text(pattern="[a-zA-Z0-9_-]+")},
    {
        "parameters": Maybe(Open()),
        "strict": Maybe(Flag()),
        "description": Maybe(TEXT),
        "allowed_callers": Maybe(ListOf(TEXT)),
        "defer_loading": Flag(),
        "output_schema": Maybe(Open()),
    },
)
FORMAT = Tagged(
    "type",
    {
        "text": Record(TYPE),
        "json_object": Record(TYPE),
        "json_schema": Record(
            {**TYPE, "name": Text(pattern="[a-zA-Z0-9_-]{1,64}"), "schema": Open()},
            {"description": Maybe(TEXT), "strict": Maybe(Flag())},
        ),
    },
)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SUMMARIES = Maybe(Text(("auto", "concise", "detailed")))
COUNTED: dict[str, Shape] = {
    "conversation": Maybe(Either(TEXT, Open())),
    "input": Maybe(Either(TEXT, ListOf(ITEM))),
    "instructions": Maybe(TEXT),
    "model": Maybe(TEXT),
    "parallel_tool_calls": Maybe(Flag()),
    "previous_response_id": Maybe(TEXT),
    "reasoning": Maybe(
        Record(
            may={
                "effort": Maybe(Text(EFFORTS)),
                "summary": SUMMARIES,
                "generate_summary": SUMMARIES,
                "context": Maybe(Text(("auto", "current_turn", "all_turns"))),
                "mode": TEXT,
            }
        )
    ),
    "text": Maybe(Record(may={"format": FORMAT, "verbosity": Maybe(Text(("low", "medium", "high")))})),
    "tool_choice": Maybe(Either(Text(("none", "auto", "required")), Open())),
    "tools": Maybe(ListOf(Tool())),
    "truncation": Maybe(Text(("auto", "disabled"))),
}
INCLUDABLE = (
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    "reasoning.encrypted_content", "message.output_text.logprobs",
)  # fmt: skip
CREATE = Record(
    may={
        **COUNTED,
        "access_programs": Open(),
        "background": Maybe(Flag()),
        "background_options": Open(),
        "context_management": Maybe(ListOf(Open())),
        "image": Open(),
        "include": Maybe(ListOf(Text(INCLUDABLE))),
        "max_output_tokens": Maybe(Number(16)),
        "max_tool_calls": Maybe(Number(1)),
        "metadata": Maybe(MapOf(TEXT)),
        "moderation": Maybe(Open()),
        "prompt": Maybe(Open()),
        "prompt_cache_key": Maybe(TEXT),
        "prompt_cache_options": Open(),
        "prompt_cache_retention": Maybe(Text(("in_memory", "24h"))),
        "safety_identifier": Maybe(TEXT),
        "service_tier": Maybe(Text(("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"))),
        "store": Maybe(Flag()),
        "stream": Maybe(Flag()),
        "stream_options": Maybe(Record(may={"include_obfuscation": Flag()})),
        "temperature": Maybe(Number(0, 2, fractions=True)),
        "top_logprobs": Maybe(Number(0, 20)),
        "top_p": Maybe(Number(0, 1, fractions=True)),
        "user": Maybe(TEXT),
    }
)
COUNT = Record(may={**COUNTED, "personality": Anything()})
