"""What Anthropic demands of a conversation beyond its shape: who says what, which calls are answered, whose thoughts."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from app.demo.anthropic_errors import Caller, Refusal
from app.demo.signing import is_sealed, is_signed

SIGNATURE_KIND = "anthropic"
MAGIC = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}
MAX_BREAKPOINTS = 4
ONLY_IN = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
}

Blocks = list[dict[str, Any]]


def check_turns(messages: list[dict[str, Any]], caller: Caller) -> None:
    """Raises Refusal for the first message that breaks a rule. Consecutive turns of one role are one turn.

    The words are those that the API is reported to have; where a message may not hold a kind of block they are unverified.
    """
    if not messages:
        raise Refusal(400, "messages: at least one message is required")
    for index, message in enumerate(messages):
        final = index == len(messages) - 1
        _check_texts(index, message, final=final)
        for place, block in enumerate(blocks_of(message["content"])):
            _check_block(f"messages.{index}.content.{place}", message["role"], block, caller)
    _check_calls([(index, message) for index, message in enumerate(messages) if message["role"] != "system"])


def blocks_of(content: Any) -> Blocks:
    """The content of a message or of a tool's result as blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def check_breakpoints(body: dict[str, Any]) -> None:
    """Raises Refusal for more marks for the cache than the API takes."""
    places = [body, *blocks_of(body.get("system")), *body.get("tools", ())]
    for message in body["messages"]:
        for block in blocks_of(message["content"]):
            places += [block, *(blocks_of(block.get("content")) if block["type"] == "tool_result" else ())]
    count = sum(1 for place in places if place.get("cache_control"))
    if count > MAX_BREAKPOINTS:
        raise Refusal(400, f"A maximum of 4 blocks with cache_control may be provided. Found {count}.")


def check_leading_thought(messages: list[dict[str, Any]]) -> None:
    """Raises Refusal when the turn that tools interrupt doesn't start with a thought, as `thinking: enabled` wants it."""
    last = next((index for index in reversed(range(len(messages))) if messages[index]["role"] == "assistant"), None)
    if last is None:
        return
    blocks = blocks_of(messages[last]["content"])
    first = blocks[0]["type"] if blocks else "text"
    calls = any(block["type"] == "tool_use" for block in blocks)
    if (calls or last == len(messages) - 1) and first not in ("thinking", "redacted_thinking"):
        raise Refusal(
            400,
            f"messages.{last}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When "
            "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost "
            "set of `tool_use` and `tool_result` blocks).",
        )


def _check_texts(index: int, message: dict[str, Any], *, final: bool) -> None:
    role, content = message["role"], message["content"]
    prefill = final and role == "assistant"
    if not content and not prefill:
        raise Refusal(
            400,
            f"messages.{index}: all messages must have non-empty content except for the optional final assistant message",
        )
    texts = [block for block in blocks_of(content) if block["type"] == "text"]
    for block in texts:
        if not block["text"] and not (prefill and isinstance(content, str)):
            raise Refusal(400, "messages: text content blocks must be non-empty")
        if not block["text"].strip() and block["text"]:
            raise Refusal(400, "messages: text content blocks must contain non-whitespace text")
    if prefill and texts and texts[-1]["text"] != texts[-1]["text"].rstrip():
        raise Refusal(400, "messages: final assistant content cannot end with trailing whitespace")


def _check_block(path: str, role: str, block: dict[str, Any], caller: Caller) -> None:
    kind = block["type"]
    if role != ONLY_IN.get(kind, role):
        raise Refusal(400, f"{path}: `{kind}` blocks can only be in `{ONLY_IN[kind]}` messages")
    if role == "system" and kind != "text":
        raise Refusal(400, f"{path}: `{kind}` blocks are not permitted in `system` messages")
    if caller.modern and role == "assistant" and kind == "document":
        raise Refusal(400, f"{path}: `document` blocks are not permitted in `assistant` messages")
    if caller.modern and role == "user" and kind == "text" and block.get("citations"):
        raise Refusal(400, f"{path}.text.citations: citations are not permitted in `user` messages")
    match kind:
        case "thinking" if not is_signed(SIGNATURE_KIND, block["thinking"], block["signature"]):
            raise Refusal(400, f"{path}: Invalid `signature` in `thinking` block")
        case "redacted_thinking" if not is_sealed(SIGNATURE_KIND, block["data"]):
            raise Refusal(400, f"{path}: Invalid `data` in `redacted_thinking` block")
        case "image" | "document":
            _check_source(f"{path}.{kind}", block["source"])
        case "tool_result":
            _check_result(f"{path}.tool_result", block)


def _check_result(path: str, block: dict[str, Any]) -> None:
    content = block.get("content")
    if block.get("is_error") and not content:
        raise Refusal(400, f"{path}: content cannot be empty if `is_error` is true")
    for place, inner in enumerate(blocks_of(content)):
        if inner["type"] in ("image", "document"):
            _check_source(f"{path}.content.{place}.{inner['type']}", inner["source"])
        elif inner["type"] == "text" and not inner["text"] and not isinstance(content, str):
            raise Refusal(400, "messages: text content blocks must be non-empty")
        if block.get("is_error") and inner["type"] != "text":
            raise Refusal(400, f"{path}: all content must be type `text` if `is_error` is true")


def _check_source(path: str, source: dict[str, Any]) -> None:
    match source:
        case {"type": "url", "url": url}:
            if not url.startswith("https://"):
                raise Refusal(400, "Only HTTPS URLs are supported.")
        case {"type": "base64", "media_type": media_type, "data": data}:
            try:
                start = b64decode(data, validate=True)[:4]
            except ValueError as error:
                raise Refusal(400, f"{path}.source.base64.data: Invalid base64 data") from error
            if not start:
                raise Refusal(400, f"{path}.source.base64: image cannot be empty")
            if media_type in MAGIC and not start.startswith(MAGIC[media_type][:4]):
                raise Refusal(
                    400,
                    f"{path}.source.base64: The image was specified using the {media_type} media type, "
                    "but the image does not appear to be a valid one",
                )
            if media_type == "application/pdf" and start != b"%PDF":
                raise Refusal(400, f"{path}.source.base64.data: The PDF specified was not valid.")


def _merge(messages: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, str, Blocks]]:
    """Index, role and blocks of each turn."""
    merged: tuple[int, str, Blocks] | None = None
    for index, message in messages:
        if merged is not None and merged[1] == message["role"]:
            merged[2].extend(blocks_of(message["content"]))
            continue
        if merged is not None:
            yield merged
        merged = (index, message["role"], list(blocks_of(message["content"])))
    if merged is not None:
        yield merged


def _check_calls(messages: list[tuple[int, dict[str, Any]]]) -> None:
    """Each call is answered at the start of the next turn, once, and nothing else is."""
    calls: list[str] = []
    seen: set[str] = set()
    asked_at = 0
    for index, _, blocks in _merge(messages):
        _check_results(index, blocks, calls, asked_at)
        calls, asked_at = [block["id"] for block in blocks if block["type"] == "tool_use"], index
        if len(set(calls)) < len(calls) or seen & set(calls):
            raise Refusal(400, "messages: `tool_use` ids must be unique")
        seen |= set(calls)
    if calls:
        raise _unanswered(asked_at, calls)


def _check_results(index: int, blocks: Blocks, calls: list[str], asked_at: int) -> None:
    """The results in a turn against the calls of the turn before."""
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    leading = [block["type"] for block in blocks[: len(results)]]
    if calls and (set(calls) - set(results) or set(leading) != {"tool_result"}):
        raise _unanswered(asked_at, [call for call in calls if call not in results] or calls)
    for place, block in enumerate(blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in calls:
            raise Refusal(
                400,
                f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message.",
            )
    twice = [call for call in calls if results.count(call) > 1]
    if twice:
        raise Refusal(
            400,
            f"messages.{index}.content: each tool_use must have a single result. Found multiple `tool_result` blocks "
            f"with id: {twice[0]}",
        )


def _unanswered(asked_at: int, calls: list[str]) -> Refusal:
    return Refusal(
        400,
        f"messages.{asked_at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
    )
