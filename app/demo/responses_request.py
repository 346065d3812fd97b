"""Reading a request for OpenAI's Responses: strictly, then what of it shapes the answer, and its prompt tokens."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.openai_errors import Refusal, refuse_misfit
from app.demo.openai_request import HIGH_IMAGE_TOKENS, LOW_IMAGE_TOKENS, TOKENS_FOR_REPLY, TOKENS_PER_MESSAGE
from app.demo.responses_shapes import COUNT, CREATE
from app.demo.responses_store import Items, ResponseStore
from app.demo.samples import objects_of
from app.demo.saying import SHOWN_REASONING_TOKENS, Tool
from app.demo.shapes import Misfit, Record
from app.demo.signing import is_sealed

SIGNATURE_KIND = "openai"
ID_STARTS = {"reasoning": "rs", "function_call": "fc", "message": "msg"}
GOOD_IMAGE = re.compile(r"https?://.+|data:image/(png|jpe?g|webp|gif);base64,[A-Za-z0-9+/=]+")
DEEP = 250
FILE_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was found good. `items` is its input, `history` that and all that came before it."""

    body: dict[str, Any]
    items: Items
    history: Items
    tools: tuple[Tool, ...]
    forced: bool

    @property
    def reasoning(self) -> dict[str, Any]:
        """The `reasoning` field; empty when there is none."""
        return self.body.get("reasoning") or {}

    @property
    def thinks(self) -> int:
        """The reasoning tokens that are asked for."""
        return SHOWN_REASONING_TOKENS if self.reasoning.get("effort", "none") not in (None, "none") else 0

    @property
    def shows_summary(self) -> bool:
        """Whether a summary of the reasoning is wanted."""
        return bool(self.reasoning.get("summary") or self.reasoning.get("generate_summary"))

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of a structured answer; None when text is wanted."""
        shape = (self.body.get("text") or {}).get("format", {"type": "text"})
        return None if shape["type"] == "text" else shape.get("schema", {"type": "object"})

    @property
    def user_text(self) -> str:
        """The text of the last user message, its parts joined."""
        for item in reversed(self.items):
            if item.get("role") == "user":
                return text_of(item["content"])
        return ""

    @property
    def answered(self) -> bool:
        """Whether it ends with the results of tools."""
        return bool(self.items) and self.items[-1].get("type") == "function_call_output"


def read_question(raw: bytes, store: ResponseStore, credential: str, *, counted: bool = False) -> Question:
    """Reads the body of `POST /v1/responses`, or of `input_tokens` when it is only `counted`; raises Refusal."""
    body = _read(raw, COUNT if counted else CREATE)
    if not counted:
        _check_fields(body)
    given = body.get("input")
    items: Items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given or []
    previous = _find_previous(body, store, credential)
    history = [*previous, *items]
    _check_items(items, store, credential)
    _check_calls(items, previous)
    tools, forced = _choose_tools(body)
    _check_format(body, items)
    return Question(body, items, history, tools, forced)


def count_prompt(question: Question, count: Callable[[str], int]) -> int:
    """The prompt tokens of a request and of what it goes on from."""
    instructions = question.body.get("instructions")
    total = TOKENS_FOR_REPLY + (TOKENS_PER_MESSAGE + count(instructions) if instructions else 0)
    return total + sum(_count_item(item, count) for item in question.history)


def text_of(content: Any) -> str:
    """The text of a message's content."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _count_item(item: dict[str, Any], count: Callable[[str], int]) -> int:
    match item:
        case {"role": role, "content": content}:
            return TOKENS_PER_MESSAGE + count(role) + _count_content(content, count)
        case {"type": "function_call", "name": name, "arguments": arguments}:
            return TOKENS_PER_MESSAGE + count(name) + count(arguments)
        case {"type": "function_call_output", "output": output}:
            return TOKENS_PER_MESSAGE + _count_content(output, count)
        case {"type": "reasoning", "summary": summary}:
            return sum(count(part["text"]) for part in summary)
        case _:
            return 0


def _count_content(content: Any, count: Callable[[str], int]) -> int:
    if isinstance(content, str):
        return count(content)
    total = 0
    for part in content:
        match part:
            case {"type": "input_image", "detail": "high" | "original"}:
                total += HIGH_IMAGE_TOKENS
            case {"type": "input_image"}:
                total += LOW_IMAGE_TOKENS
            case {"type": "input_file"}:
                total += FILE_TOKENS
            case {"text": str(text)} | {"refusal": str(text)}:
                total += count(text)
    return total


def _read(raw: bytes, shape: Record) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
        if raw.count(b"[") + raw.count(b"{") > DEEP:
            orjson.dumps(value)  # answers repeat much of a request, and orjson reads deeper nesting than it writes
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from error
    try:
        body: dict[str, Any] = shape.read(value, ())
    except Misfit as misfit:
        raise refuse_misfit(misfit) from misfit
    if not body.get("model"):
        raise Refusal(400, "Missing required parameter: 'model'.", code="missing_required_parameter", param="model")
    return body


def _check_fields(body: dict[str, Any]) -> None:
    """Fields that don't go together; where no words are known to be OpenAI's, they are ours."""
    if not any(body.get(name) for name in ("input", "prompt", "previous_response_id", "conversation")):
        text = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
        raise Refusal(400, text, code="missing_required_parameter")
    if body.get("stream_options") and not body.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, text, param="stream_options")
    if body.get("background") and body.get("store") is False:
        raise Refusal(400, "Background mode requires 'store' to be true.", param="background")
    if body.get("conversation") and body.get("previous_response_id"):
        raise Refusal(400, "Only one of 'conversation' and 'previous_response_id' may be given.", param="conversation")


def _find_previous(body: dict[str, Any], store: ResponseStore, credential: str) -> Items:
    previous_id = body.get("previous_response_id")
    if previous_id is None:
        return []
    stored = store.find(previous_id, credential)
    if stored is None:
        text = f"Previous response with id '{previous_id}' not found."
        raise Refusal(400, text, code="previous_response_not_found", param="previous_response_id")
    return [*stored.history, *stored.response["output"]]


def _check_items(items: Items, store: ResponseStore, credential: str) -> None:
    for index, item in enumerate(items):
        kind, item_id = item.get("type", "message"), item.get("id")
        start = ID_STARTS.get(kind) if kind != "message" or item.get("role") == "assistant" else None
        if start and item_id is not None and not item_id.startswith(start):
            text = f"Invalid 'input[{index}].id': '{item_id}'. Expected an ID that begins with '{start}'."
            raise Refusal(400, text, code="invalid_value", param=f"input[{index}].id")
        if kind == "reasoning":
            _check_reasoning(index, items, store, credential)
        for place, part in enumerate(_parts_of(item)):
            url = part.get("image_url")
            if part.get("type") == "input_image" and url is not None and not GOOD_IMAGE.fullmatch(url):
                param = f"input[{index}].content[{place}].image_url"
                text = f"Invalid '{param}'. Expected a valid URL, but got a value with an invalid format."
                raise Refusal(400, text, code="invalid_value", param=param)


def _parts_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    content = item.get("content") if "content" in item else item.get("output")
    return content if isinstance(content, list) else []


def _check_reasoning(index: int, items: Items, store: ResponseStore, credential: str) -> None:
    item = items[index]
    sealed, item_id = item.get("encrypted_content"), item.get("id") or ""
    if sealed is not None and not is_sealed(SIGNATURE_KIND, sealed):
        text = (
            f"The encrypted content {sealed[:8]}... could not be verified. "
            "Reason: Encrypted content could not be decrypted or parsed."
        )
        raise Refusal(400, text, code="invalid_encrypted_content")
    if sealed is None and not store.has_item(item_id, credential):
        text = (
            f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. Try again with "
            "`store` set to true, or remove this item from your input."
        )
        raise Refusal(404, text, param="input")
    after = items[index + 1] if index + 1 < len(items) else {}
    if after.get("role") != "assistant" and after.get("type") not in ("function_call", "reasoning", "custom_tool_call"):
        text = f"Item '{item_id}' of type 'reasoning' was provided without its required following item."
        raise Refusal(400, text, param="input")


def _check_calls(items: Items, previous: Items) -> None:
    """Every result is that of a call before it, and every call has one."""
    calls = {item["call_id"] for item in previous if item.get("type") == "function_call"}
    answered = {item["call_id"] for item in previous if item.get("type") == "function_call_output"}
    for item in items:
        if item.get("type") == "function_call":
            calls.add(item["call_id"])
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in calls:
                text = f"No tool call found for function call output with call_id {item['call_id']}."
                raise Refusal(400, text, param="input")
            answered.add(item["call_id"])
    for call in sorted(calls - answered):
        raise Refusal(400, f"No tool output found for function call {call}.", param="input")


def _choose_tools(body: dict[str, Any]) -> tuple[tuple[Tool, ...], bool]:
    declared = [tool for tool in body.get("tools") or () if tool["type"] == "function"]
    for tool in declared:
        if tool.get("strict"):
            _check_strict(tool.get("parameters") or {}, f"function '{tool['name']}'", "invalid_function_parameters")
    tools = tuple(Tool(tool["name"], tool.get("parameters") or {}) for tool in declared)
    match body.get("tool_choice"):
        case "none":
            return (), False
        case "required":
            return tools, True
        case {"type": "function", "name": name}:
            chosen = tuple(tool for tool in tools if tool.name == name)
            if not chosen:
                raise Refusal(
                    400, f"Tool choice 'function' '{name}' not found in 'tools' parameter.", param="tool_choice"
                )
            return chosen, True
        case {"type": "allowed_tools", "mode": mode, "tools": [*allowed]}:
            names = [tool.get("name") for tool in allowed if isinstance(tool, dict)]
            return tuple(tool for tool in tools if tool.name in names), mode == "required"
        case _:
            return tools, False


def _check_format(body: dict[str, Any], items: Items) -> None:
    shape = (body.get("text") or {}).get("format", {"type": "text"})
    if shape["type"] == "json_schema" and shape.get("strict"):
        _check_strict(shape["schema"], f"response_format '{shape['name']}'", "invalid_json_schema")
    words = [text_of(item["content"]) for item in items if "content" in item and "role" in item]
    said = " ".join([*words, body.get("instructions") or ""]).lower()
    if shape["type"] == "json_object" and "json" not in said:
        text = "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."
        raise Refusal(400, text, param="input")


def _check_strict(schema: dict[str, Any], what: str, code: str) -> None:
    """What is to be kept exactly names every property as required, and no other."""
    for node in objects_of(schema):
        if node.get("additionalProperties") is not False:
            text = (
                f"Invalid schema for {what}: In context=(), "
                "'additionalProperties' is required to be supplied and to be false."
            )
            raise Refusal(400, text, code=code)
        missing = [name for name in node.get("properties", {}) if name not in node.get("required", ())]
        if missing:
            text = (
                f"Invalid schema for {what}: In context=(), 'required' is required to be supplied and to be an array "
                f"including every key in properties. Missing '{missing[0]}'."
            )
            raise Refusal(400, text, code=code)
