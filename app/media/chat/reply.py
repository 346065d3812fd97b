"""An answer of ours in the shape of Chat Completions, whole or in chunks.

Source: OpenAI's API reference, "The chat completion object" and "The chat completion chunk object". Usage counts tokens, of
which a video has none: all zero. What it cost stands on the task's entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.formats.base import Request
from app.media.task import Task

DONE = b"data: [DONE]\n\n"
ALIVE = b": still at work\n\n"

_NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True, slots=True)
class Reply:
    """What all parts of one answer share. `with_usage`: the client asked for a usage chunk."""

    id: str
    created: int
    model: str
    with_usage: bool

    def whole(self, text: str) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return msgspec.json.encode(self._body("chat.completion", [choice]) | {"usage": _NO_TOKENS})

    def first(self) -> bytes:
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def text(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def end(self) -> bytes:
        """The last chunks and the end mark."""
        usage = self._frame([], {"usage": _NO_TOKENS}) if self.with_usage else b""
        return self._chunk({}, "stop") + usage + DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._frame([choice], {"usage": None} if self.with_usage else {})

    def _frame(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> bytes:
        return b"data: " + msgspec.json.encode(self._body("chat.completion.chunk", choices) | more) + b"\n\n"

    def _body(self, object: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices}


def open_reply(label: str, request: Request, task: Task) -> Reply:
    """`label`: the request's id, which makes the answer's."""
    return Reply(f"chatcmpl-{label}", int(task.created_at.timestamp()), request.model, request.wants_usage)
