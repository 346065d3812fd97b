"""What can be wrong with an upstream, as data, for the schedule that asks for it and the front that plays it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.certificates import BAD

CONNECTION_FAULTS = frozenset({"refused", "reset_accept", "hang_accept", "not_tls", *BAD})
"""They strike before a request can be read, and all connections alike."""

RUDE = frozenset({"refused", "reset_accept", "hang_accept"})
"""With these the upstream has died: what was under way breaks too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. `share`: of the requests that it strikes; a fault of connections strikes them all. `ms`: the delay, or
    the pause that is asked for.

    | kind | what happens |
    |---|---|
    | `refused` | the port is closed |
    | `reset_accept`, `hang_accept`, `not_tls` | the connection is reset, ignored, or greeted by a mail server |
    | `self_signed`, `expired`, `wrong_host` | a certificate that nobody may trust |
    | `slow` | the answer begins `ms` later |
    | `error` | one of `statuses`, with the vendor's words or a proxy's page |
    | `rate_limit` | 429; `style` is `plain`, `retry_after`, `retry_after_ms`, `retry_after_date`, `reset_headers` |
    | `auth`, `payment`, `quota` | 401, 402, and the 429 that no waiting cures |
    | `hang`, `hang_headers` | the request is read and never answered; or answered with headers alone |
    | `reset`, `reset_headers` | the connection is reset when the request was read, or after the headers |
    | `broken_json`, `html`, `wrong_type`, `empty`, `error_200`, `not_http` | an answer that isn't one |
    | `cut_clean`, `cut_reset` | after `frames` frames, or half a whole answer, the end: as if all was well, or a reset |
    """

    kind: str
    share: float = 1.0
    ms: int = 0
    frames: int = 0
    style: str = "plain"
    statuses: tuple[int, ...] = (500, 502, 503, 529)


def write_faults(faults: tuple[Fault, ...]) -> list[dict[str, Any]]:
    return [asdict(fault) for fault in faults]


def read_faults(values: list[dict[str, Any]]) -> tuple[Fault, ...]:
    return tuple(Fault(**{**value, "statuses": tuple(value["statuses"])}) for value in values)
