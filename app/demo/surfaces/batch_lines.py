"""The lines of a batch: reading and checking its input, writing its output, adding up what was used."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.demo.surfaces.clerk import new_id
from app.demo.surfaces.inside import Answered

MOST_LINES = 50_000


@dataclass(frozen=True, slots=True)
class Line:
    """One request."""

    number: int
    custom_id: str
    body: dict[str, Any]


class BadLine(Exception):
    """A line that makes the whole batch fail."""

    def __init__(self, number: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "line": number, "message": message, "param": param}


@dataclass(slots=True)
class Tally:
    """What the lines used, as a batch reports it; `reported` is set once any of them told."""

    reported: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "cached", "made", "thought"), 0))

    def add(self, usage: Any) -> None:
        """Adds the usage of an answer, if it has one, in the words of chat or of Responses."""
        if not isinstance(usage, dict):
            return
        self.reported = True
        self._count("read", usage, "input_tokens", "prompt_tokens")
        self._count("made", usage, "output_tokens", "completion_tokens")
        read = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
        made = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
        self._count("cached", read, "cached_tokens")
        self._count("thought", made, "reasoning_tokens")

    def render(self) -> dict[str, Any] | None:
        """The `usage` of a batch."""
        if not self.reported:
            return None
        counts = self.counts
        return {
            "input_tokens": counts["read"],
            "input_tokens_details": {"cached_tokens": counts["cached"]},
            "output_tokens": counts["made"],
            "output_tokens_details": {"reasoning_tokens": counts["thought"]},
            "total_tokens": counts["read"] + counts["made"],
        }

    def _count(self, name: str, told: dict[str, Any], *keys: str) -> None:
        found = next((told[key] for key in keys if isinstance(told.get(key), int)), 0)
        self.counts[name] += found


def read_lines(data: bytes, endpoint: str) -> Iterator[Line]:
    """The requests, each checked as it comes; raises BadLine."""
    seen: set[str] = set()
    lines = [(number, raw) for number, raw in enumerate(data.split(b"\n"), start=1) if raw.strip()]
    if not lines:
        raise BadLine(1, "empty_file", "The batch has no requests.")
    if len(lines) > MOST_LINES:
        raise BadLine(MOST_LINES + 1, "too_many_tasks", f"A batch has {MOST_LINES} requests at most.")
    for number, raw in lines:
        line = _read_line(number, raw, endpoint)
        if line.custom_id in seen:
            message = f"The custom_id '{line.custom_id}' was used before."
            raise BadLine(number, "duplicate_custom_id", message, "custom_id")
        seen.add(line.custom_id)
        yield line


def write_line(line: Line, answered: Answered | None) -> tuple[dict[str, Any], bool, Any]:
    """The line of the answer, whether it is a good one, and its body."""
    told: dict[str, Any] = {"id": new_id("batch_req_"), "custom_id": line.custom_id, "response": None, "error": None}
    body = None
    if answered is not None and answered.complete:
        try:
            body = orjson.loads(answered.body)
        except orjson.JSONDecodeError:
            body = None
    if answered is None or body is None:
        return {**told, "error": {"code": "server_error", "message": "The request got no answer."}}, False, None
    response = {"status_code": answered.status, "request_id": new_id("req_"), "body": body}
    return {**told, "response": response}, answered.status < 400, body


def _read_line(number: int, raw: bytes, endpoint: str) -> Line:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadLine(number, "invalid_json_line", "This line is not parseable as valid JSON.") from error
    match value:
        case {"custom_id": str(custom_id), "method": "POST", "url": str(url), "body": dict(body)} if url == endpoint:
            if body.get("stream"):
                raise BadLine(number, "invalid_request", "A batch can't stream.", "body.stream")
            return Line(number, custom_id, body)
        case {"url": str(url)} if url != endpoint:
            message = f"The URL provided for this request does not match the batch endpoint '{endpoint}'."
            raise BadLine(number, "mismatched_endpoint", message, "url")
        case dict():
            for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
                if not isinstance(value.get(name), kind):
                    message = f"Missing required parameter: '{name}'."
                    raise BadLine(number, "missing_required_parameter", message, name)
            raise BadLine(number, "invalid_method", "The method must be POST.", "method")
        case _:
            raise BadLine(number, "invalid_json_line", "This line is not a JSON object.")
