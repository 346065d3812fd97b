"""What a load process is told, the request it sends over and over, and what it answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, how often. With `rate` (requests/s) the loop is open, else `connections` closed loops run."""

    url: str
    model: str
    connections: int = 32
    seconds: float = 4.0
    warmup: float = 0.5
    requests: int | None = None  # stop after this many instead of after `seconds`
    rate: float | None = None
    ramp: float = 0.0  # closed loops start evenly over this many seconds
    chunks: int | None = None  # a stream with this many text chunks; None asks for a plain answer
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles in milliseconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """`answers` are the good ones that count; `sent` is every request, warm-up included."""

    answers: int
    sent: int
    seconds: float
    per_second: float
    latency_ms: Spread | None
    first_ms: Spread | None  # streams: until the first text chunk
    errors: dict[str, int]
    error_body: str
    connects: int
    cpu_seconds: float


def spread(seconds: Sequence[float]) -> Spread | None:
    """Percentiles by nearest rank."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    p50, p99, top = (round(ranked[max(0, math.ceil(len(ranked) * q) - 1)] * 1000, 3) for q in (0.5, 0.99, 1.0))
    return Spread(p50, p99, top)


def build_request(plan: Plan) -> bytes:
    """The whole request, head and body: a small chat of about 300 bytes."""
    target = urlsplit(plan.url)
    chat: dict[str, Any] = {
        "model": plan.model,
        "messages": [
            {
                "role": "system",
                "content": "You are a helpful assistant of a small web shop. Answer in one sentence.",
            },
            {
                "role": "user",
                "content": "My parcel should have come on Monday. Where is it, and whom do I call?",
            },
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if plan.chunks is not None:
        chat["stream"] = True
    body = msgspec.json.encode(chat)
    lines = [
        f"POST {target.path.rstrip('/')}{PATH} HTTP/1.1",
        f"host: {target.netloc}",
        "content-type: application/json",
        "accept: application/json",
        "user-agent: relaygate-bench",
        f"content-length: {len(body)}",
    ]
    if plan.authorization:
        lines.append(f"authorization: {plan.authorization}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
