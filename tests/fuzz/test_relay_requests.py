"""Bent requests at the relay edge: each is answered or refused in its client's dialect, at once, and refusals are free."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import zstandard
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.fuzz.bend import VALUES, bent_bytes, bent_value, explore, places, replaced, to_json
from tests.fuzz.dialects import check_answer, check_error, check_stream
from tests.fuzz.ground import Ground
from tests.fuzz.seeds import CHAT, FORMATS, GENERATE, SEEDS, body_of, path_of
from tests.fuzz.wire import Answer, call, poke, post

QUICK, LONG = 80, 3000
AMOUNTS = [QUICK, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of a format: what it is, whatever was done to it."""

    client: str
    upstream: str
    seed: int
    stream: bool
    count: bool
    array: bool

    @property
    def converted(self) -> bool:
        return self.client != self.upstream

    def path(self, model: str) -> str:
        return path_of(self.client, model, stream=self.stream, array=self.array, count=self.count)

    def is_streamed(self, answer: Answer) -> bool:
        """Whether it was answered by a stream. Bending may have changed what the body says."""
        if self.client == GENERATE:
            return self.stream and not self.count
        return "event-stream" in answer.headers["content-type"]


ASKS = st.builds(
    Ask,
    client=st.sampled_from(FORMATS),
    upstream=st.sampled_from(FORMATS),
    seed=st.integers(0, 2),
    stream=st.booleans(),
    count=st.sampled_from((False, False, False, True)),
    array=st.booleans(),
)


def check(ground: Ground, ask: Ask, answer: Answer) -> None:
    """An answer, or an error that is the client's: the upstream is in good health."""
    ground.note(answer)
    assert answer.status == 200 or 400 <= answer.status < 500, f"{answer.status} {answer.body!r}"
    if answer.status != 200:
        check_error(ask.client, answer)
    elif ask.is_streamed(answer):
        array = ask.client == GENERATE and ask.array
        assert check_stream(ask.client, answer, strict=ask.converted, array=array) is None
    elif not ask.count or ask.client == CHAT:
        check_answer(ask.client, answer, strict=ask.converted)


def send(ground: Ground, ask: Ask, model: str, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    path = ask.path(model).encode()
    return call(ground.port, post(path, ground.authorized(JSON, *headers), body))


@pytest.mark.parametrize("examples", AMOUNTS)
def test_bent_bytes(ground: Ground, models: Mapping[str, str], examples: int) -> None:
    @st.composite
    def cases(draw: DrawFn) -> tuple[Ask, bytes]:
        ask = draw(ASKS)
        good = to_json(body_of(ask.client, ask.seed, models[ask.upstream], stream=ask.stream))
        return ask, draw(bent_bytes(good))

    def attempt(case: tuple[Ask, bytes]) -> None:
        ask, body = case
        check(ground, ask, send(ground, ask, models[ask.upstream], body))

    explore(examples, cases(), attempt)
    assert {200, 400} <= ground.statuses.keys()


@pytest.mark.parametrize("examples", AMOUNTS)
def test_bent_structure(ground: Ground, models: Mapping[str, str], examples: int) -> None:
    @st.composite
    def cases(draw: DrawFn) -> tuple[Ask, bytes]:
        ask = draw(ASKS)
        good = body_of(ask.client, ask.seed, models[ask.upstream], stream=ask.stream)
        return ask, to_json(draw(bent_value(good)))

    def attempt(case: tuple[Ask, bytes]) -> None:
        ask, body = case
        check(ground, ask, send(ground, ask, models[ask.upstream], body))

    explore(examples, cases(), attempt)
    assert {200, 400} <= ground.statuses.keys()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("client", FORMATS)
def test_every_field_of_every_type(ground: Ground, models: Mapping[str, str], client: str) -> None:
    """Each value in each place of each good request, to upstreams of all formats by turns."""
    cases = itertools.cycle(itertools.product(FORMATS, (False, True)))
    for seed, good in enumerate(SEEDS[client]):
        for place, value in itertools.product(places(good), (*VALUES, None)):
            upstream, stream = next(cases)
            ask = Ask(client, upstream, seed, stream, count=False, array=False)
            body = body_of(client, seed, models[upstream], stream=stream)
            if place[0] in body:
                check(ground, ask, send(ground, ask, models[upstream], to_json(replaced(body, place, value))))
    assert {200, 400} <= ground.statuses.keys()


TYPES = (
    b"application/json",
    b"text/plain",
    b"",
    b"application/json; charset=utf-16",
    b"multipart/form-data",
    b"\xff\x00",
    b"*/*",
)
ENCODINGS = (
    b"gzip",
    b"x-gzip",
    b"zstd",
    b"br",
    b"deflate",
    b"identity",
    b"",
    b"gzip, gzip",
    b"GZIP",
    b"\xff",
    b"zstd;q=1",
)
PACKS: tuple[tuple[Callable[[bytes], bytes], bytes], ...] = ((gzip.compress, b"gzip"), (zstandard.compress, b"zstd"))
NAMES = (
    b"anthropic-version", b"anthropic-beta", b"x-request-id", b"prefer", b"expect", b"x-forwarded-for", b"host", b"cookie",
    b"x-api-key", b"x-goog-api-key", b"api-key", b"openai-organization", b"range", b"if-none-match", b"accept", b"te",
    b"x-demo", b"x-grok-conv-id", b"idempotency-key", b"x-stainless-retry-count", b"authorization", b"content-length",
    b"transfer-encoding",
)  # fmt: skip
_VALUES = st.binary(max_size=40).map(lambda value: value.translate(None, b"\r\n\0"))
_HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), _VALUES), max_size=4)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole HTTP request."""

    ask: Ask
    raw: bytes


@st.composite
def messages(draw: DrawFn, ground: Ground, models: Mapping[str, str]) -> Message:
    """A good body, or one that is packed well, badly, or as something else; among headers and a query of any bytes."""
    ask = draw(ASKS)
    model = models[ask.upstream]
    body = to_json(body_of(ask.client, ask.seed, model, stream=ask.stream))
    headers = [(b"content-type", draw(st.sampled_from(TYPES)))]
    match draw(st.sampled_from(("plain", "plain", "packed", "torn", "bomb"))):
        case "packed" | "torn" as how:
            pack, encoding = draw(st.sampled_from(PACKS))
            body = draw(bent_bytes(pack(body))) if how == "torn" else pack(body)
            headers.append((b"content-encoding", draw(st.sampled_from((encoding, encoding, *ENCODINGS)))))
        case "bomb":
            pack, encoding = draw(st.sampled_from(PACKS))
            body, headers = pack(bytes(8 * 1024 * 1024)), [*headers, (b"content-encoding", encoding)]
    query = draw(st.binary(max_size=20)).translate(None, b"\r\n\0 #") if draw(st.booleans()) else b""
    path = ask.path(model).encode()
    target = path + ((b"&" if b"?" in path else b"?") + query if query else b"")
    return Message(ask, post(target, [*ground.authorized(), *headers, *draw(_HEADERS)], body))


@pytest.mark.parametrize("examples", AMOUNTS)
def test_bent_headers(ground: Ground, models: Mapping[str, str], examples: int) -> None:
    def attempt(message: Message) -> None:
        answer = poke(ground.port, message.raw, hang_up=False)
        if answer is not None and answer.request_id:  # else it wasn't HTTP, which no client of an SDK would send
            check(ground, message.ask, answer)

    explore(examples, messages(ground, models), attempt)
    assert {200, 400, 415} <= ground.statuses.keys()


@pytest.mark.parametrize("examples", AMOUNTS)
def test_bent_wire(ground: Ground, models: Mapping[str, str], examples: int) -> None:
    """Bytes of the whole HTTP message: no dialect is owed to what can't be read, only an end, and no failure of ours."""
    good = messages(ground, models).flatmap(lambda message: bent_bytes(message.raw))

    def attempt(raw: bytes) -> None:
        answer = poke(ground.port, raw)
        if answer is not None:
            ground.note(answer)
            assert answer.status < 500, f"{answer.status} {answer.body!r}"

    explore(examples, good, attempt)
