"""Turns of a canonical conversation, written as messages for a server that speaks Chat Completions.

Many servers take a string alone where OpenAI takes an array too, so text of another format's client goes out as one. The
role of instructions is always `system`: `developer` is OpenAI's own, and means the same there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from app.core.conversation import (
    Ask,
    Block,
    Message,
    Opaque,
    Refusal,
    Signature,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from app.formats.fields import cannot_carry
from app.formats.openai_chat.fields import TITLE
from app.formats.openai_chat.quirks import GOOGLE_SIGNATURES, REASONING_DETAILS, REPLAYS_REASONING, SHORT_CALL_IDS
from app.formats.openai_chat.thoughts import FORMATS
from app.formats.openai_chat.turn import GAP, Turn, sort_blocks, write_citation, write_signature
from app.formats.openai_chat.write_parts import PartWriter

ATTACHED = "The result is in the next message."
"""What a result without words says, whose pictures or files can't stand in a tool's message."""

LONGEST_ID = 40
"""Characters of a tool call's id that OpenAI takes (unverified: reported in its refusals)."""

SHORT_ID = 9

_SHORT = re.compile(r"[A-Za-z0-9]{9}")


class MessageWriter:
    """Writes one request's messages. `left_out` gathers the client's names of what was left out of them."""

    __slots__ = ("_ask", "_parts", "_quirks", "_same")

    def __init__(self, ask: Ask, quirks: frozenset[str]) -> None:
        self._ask = ask
        self._quirks = quirks
        self._parts = PartWriter(ask, quirks)
        self._same = self._parts.same

    @property
    def left_out(self) -> list[str]:
        return self._parts.left_out

    def write(self) -> list[dict[str, Any]]:
        """Raises GatewayError 400 naming the client's field that can't be carried."""
        messages: list[dict[str, Any]] = []
        if self._ask.system:
            messages.append({"role": "system", "content": self._content(self._ask.system)})
        for message in self._ask.messages:
            if message.role == "assistant":
                written = self._assistant(message)
                if written is not None:
                    messages.append(written)
            elif message.role == "system":
                if message.blocks or self._same:
                    messages.append(self._named({"role": "system", "content": self._content(message.blocks)}, message))
            else:
                self._user(message, messages)
        return messages

    def _named(self, written: dict[str, Any], message: Message) -> dict[str, Any]:
        if message.name is not None:
            written["name"] = message.name
        return written

    def _content(self, blocks: Sequence[Block]) -> str | list[dict[str, Any]]:
        """One string where there is nothing but words, an array of parts else."""
        texts = [block for block in blocks if type(block) is Text]
        if len(texts) < len(blocks):
            return [self._parts.part(block) for block in blocks]
        if not blocks:
            return ""
        if self._same and (len(texts) > 1 or texts[0].cache is not None):
            return [self._parts.part(text) for text in texts]
        for text in texts:
            self._parts.text(text)
            self._parts.note_cache(text.cache)
        return texts[0].text if len(texts) == 1 else GAP.join([text.text for text in texts if text.text])

    def _user(self, message: Message, messages: list[dict[str, Any]]) -> None:
        results = [block for block in message.blocks if type(block) is ToolResult]
        rest: Sequence[Block] = message.blocks
        if results:
            hoisted: list[Block] = []
            messages += [self._result(result, hoisted) for result in results]
            rest = [*hoisted, *[block for block in message.blocks if type(block) is not ToolResult]]
        if rest or (self._same and not results):
            messages.append(self._named({"role": "user", "content": self._content(rest)}, message))

    def _result(self, result: ToolResult, hoisted: list[Block]) -> dict[str, Any]:
        """A tool's message holds words; pictures and files go to `hoisted`, for a user's message after all results."""
        texts = [part for part in result.content if type(part) is Text]
        others = [part for part in result.content if type(part) is not Text]
        if result.is_error:
            self._parts.drop("tool_result_error")
        self._parts.note_cache(result.cache)
        content = self._content(texts)
        if others and not self._same:
            hoisted += others
            content = content or ATTACHED
        elif others:
            content = self._content(result.content)
        written: dict[str, Any] = {"role": "tool", "tool_call_id": self._id(result.call_id), "content": content}
        if self._same and result.name is not None:
            written["name"] = result.name
        return written

    def _assistant(self, message: Message) -> dict[str, Any] | None:
        turn = sort_blocks(message.blocks)
        for block in turn.others:
            raise cannot_carry(block.field, TITLE) if isinstance(block, Opaque) else self._misplaced(block)
        if turn.images:
            raise self._misplaced(turn.images[0])
        written: dict[str, Any] = {"role": "assistant", "content": self._said(message, turn)}
        self._add_thoughts(written, message, turn)
        if turn.calls:
            written["tool_calls"] = [self._call(call, signature) for call, signature in turn.calls]
        elif written["content"] is None:
            if not self._same:
                return None  # a turn that says nothing, most servers refuse
            written["content"] = ""
        return self._named(written, message)

    def _misplaced(self, block: Block) -> Exception:
        return self._parts.refuse(type(block).__name__.lower(), "an assistant's turn is text and tool calls")

    def _said(self, message: Message, turn: Turn) -> str | list[dict[str, Any]] | None:
        texts = [block for block in message.blocks if type(block) is Text]
        if self._same and (len(texts) > 1 or any(text.cache is not None for text in texts)):
            said = [block for block in message.blocks if isinstance(block, Text | Refusal)]
            return [self._parts.part(block) for block in said]
        for text in texts:
            self._parts.text(text)
            self._parts.note_cache(text.cache)
        if turn.refusal is not None and not self._same:
            return turn.refusal if turn.text is None else turn.text + GAP + turn.refusal
        return turn.text

    def _add_thoughts(self, written: dict[str, Any], message: Message, turn: Turn) -> None:
        if self._same:
            if turn.refusal is not None and not isinstance(written["content"], list):
                written["refusal"] = turn.refusal
            if turn.citations:
                written["annotations"] = [write_citation(citation) for citation in turn.citations]
        thoughts = [block for block in message.blocks if type(block) is Thinking]
        if not thoughts and not (turn.calls and REPLAYS_REASONING in self._quirks):
            return
        if self._same or REASONING_DETAILS in self._quirks:
            origins = [thought.signature.origin for thought in thoughts if thought.signature is not None]
            if len(origins) > (self._signed_calls(turn) if self._same else 0):
                written["reasoning_details"] = turn.details
            if turn.reasoning is not None:
                written["reasoning_content" if self._same else "reasoning"] = turn.reasoning
            lost = any(origin not in FORMATS for origin in origins)
        elif REPLAYS_REASONING in self._quirks and turn.calls:
            written["reasoning_content"] = turn.reasoning or ""
            lost = False  # this server's own thoughts have no signature
        else:
            lost = len(thoughts) > (self._signed_calls(turn) if GOOGLE_SIGNATURES in self._quirks else 0)
        if lost:
            self._parts.drop("thinking")

    def _signed_calls(self, turn: Turn) -> int:
        """How many thoughts are nothing but the signature of a call, which carries it itself."""
        return sum(signature is not None for _, signature in turn.calls)

    def _call(self, call: ToolCall, signature: Signature | None) -> dict[str, Any]:
        self._parts.note_cache(call.cache)
        written: dict[str, Any] = {"id": self._id(call.id)}
        if call.custom:
            written |= {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
        else:
            told = {"name": call.name, "arguments": call.arguments or "{}"}
            written |= {"type": "function", "function": told}
        if signature is not None and (self._same or GOOGLE_SIGNATURES in self._quirks):
            written["extra_content"] = write_signature(signature)
        return written

    def _id(self, id: str) -> str:
        """An id of a tool call as the server takes it, the same in a call and in its result."""
        if SHORT_CALL_IDS in self._quirks:
            return id if _SHORT.fullmatch(id) else _digest(id)[:SHORT_ID]
        return id if self._same or len(id) <= LONGEST_ID else f"call_{_digest(id)[:24]}"


def _digest(id: str) -> str:
    return sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
