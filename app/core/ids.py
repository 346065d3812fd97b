"""Time-ordered identifiers for requests, holds and entries."""

from __future__ import annotations

import random
import time
from uuid import UUID

_random = random.SystemRandom()
_generator = random.Random(_random.getrandbits(256))  # noqa: S311 - ids are unique, not secret


def new_id() -> UUID:
    """A UUID version 7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits.

    Time order keeps B-tree inserts at the right edge of the index. The random bits come from a generator seeded by
    the operating system: ids are public and need uniqueness, and a system call a request is not free.
    """
    value = (time.time_ns() // 1_000_000) << 80 | _generator.getrandbits(80)
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return UUID(int=value)


def request_label(request_id: UUID) -> str:
    """How a request id is shown to people: `req_` and 32 hex digits; the value of `x-request-id`."""
    return f"req_{request_id.hex}"
