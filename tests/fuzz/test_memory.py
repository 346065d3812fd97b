"""Large requests that come to a bad end leave nothing behind, nor wait for a garbage collector that comes late."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil
import pytest
import zstandard

from tests.fuzz.bend import to_json
from tests.fuzz.ground import Ground
from tests.fuzz.liar import STREAM, Liar, head, serve_liar
from tests.fuzz.wire import call, poke, post
from tests.relay.calls import serve_model

LARGE = 1_500_000
"""Bytes: what is kept of one request shows after a few."""

WARM, TIMES = 24, 60
MUCH = 60_000_000
"""Bytes, of the 90 million at least that would be kept. What an allocator keeps for later comes and goes by 30 million."""

TEXT = "word " * (LARGE // 5)
FRAME = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\n'
)
"""With usage: an estimate takes memory for a while."""


@dataclass(frozen=True, slots=True)
class End:
    """One bad end: the body, how it is packed, and what the upstream answers, where it comes to that."""

    status: int
    fields: Mapping[str, object] | None = None
    bend: Callable[[bytes], bytes] = bytes
    encoding: bytes = b"identity"
    answer: bytes = b""
    converted: bool = False
    hang_up: bool = False


ENDS = {
    "a stream cut off": End(200, {"stream": True}, answer=head(200, STREAM, "content-length: 999") + FRAME),
}
MORE_ENDS = {
    "broken JSON": End(400, bend=lambda body: body[:-2]),
    "a zstd bomb": End(413, bend=lambda _: zstandard.compress(bytes(8 * 1024 * 1024)), encoding=b"zstd"),
    "an upstream that fails": End(502, answer=head(500) + b"{}"),
    "a wrong type": End(400, {"max_tokens": "x"}),
    "a gzip bomb": End(413, bend=lambda _: gzip.compress(bytes(8 * 1024 * 1024)), encoding=b"gzip"),
    "a torn gzip": End(400, bend=lambda body: gzip.compress(body, 1)[:-9], encoding=b"gzip"),
    "what no other format has": End(400, {"logit_bias": {"1": 1}}, converted=True),
    "an answer that is none": End(502, answer=head(200) + b"<html>"),
    "an answer cut off": End(502, answer=head(200, "application/json", "content-length: 999") + b'{"choices":[]'),
    "a stream that fails": End(502, {"stream": True}, answer=head(200, STREAM) + FRAME + b'data: {"error":"x"}\n\n'),
    "a client that hangs up": End(200, {"stream": True}, hang_up=True, answer=head(200, STREAM) + FRAME),
}


@pytest.mark.parametrize(
    "end",
    [
        *(pytest.param(end, id=name) for name, end in ENDS.items()),
        *(pytest.param(end, id=name, marks=pytest.mark.long) for name, end in MORE_ENDS.items()),
    ],
)
def test_nothing_is_left_of_it(ground: Ground, end: End) -> None:
    with serve_liar() as liar:
        model = _serve(ground, liar, converted=end.converted)
        liar.answer = end.answer
        fields = {"model": model, "messages": [{"role": "user", "content": TEXT}], **(end.fields or {})}
        raw = post(
            b"/v1/chat/completions",
            ground.authorized((b"content-type", b"application/json"), (b"content-encoding", end.encoding)),
            end.bend(to_json(fields)),
        )
        before = 0
        for number in range(WARM + TIMES):
            if number == WARM:
                before = _memory(ground)
            answer = poke(ground.port, raw) if end.hang_up else call(ground.port, raw)
            if answer is not None:
                ground.note(answer)
                assert answer.status == end.status, answer.body[:1000]
        ground.operator.entries(ground.customer)
    assert _memory(ground) - before < MUCH


def _serve(ground: Ground, liar: Liar, *, converted: bool) -> str:
    channel = (
        {"provider": "anthropic", "base_url": liar.base_url("")} if converted else {"base_url": liar.base_url("/v1")}
    )
    return serve_model(ground.operator, {**channel, "upstream_model": "u-memory"}, max_output_tokens=100)


def _memory(ground: Ground) -> int:
    process = ground.operator.gateway.process
    assert process is not None
    return int(psutil.Process(process.pid).memory_info().rss)
