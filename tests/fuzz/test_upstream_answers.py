"""Bent answers from upstreams: clients of every format get a well-formed answer, or a well-formed error, and no hang."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.demo.process import DemoProcess
from tests.fuzz.bend import VALUES, bent_bytes, bent_value, explore, to_json
from tests.fuzz.dialects import check_answer, check_error, check_stream
from tests.fuzz.ground import Ground
from tests.fuzz.liar import STREAM, WHOLE, Liar, good_answers, head, serve_liar
from tests.fuzz.seeds import FORMATS, GENERATE, body_of, path_of
from tests.fuzz.wire import Answer, call, post
from tests.gateway import Operator
from tests.matrix.kinds import KINDS
from tests.relay.calls import serve_model

QUICK, LONG = 60, 2000
AMOUNTS = [QUICK, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


@dataclass(frozen=True, slots=True)
class Lies:
    """The liar, the models that it serves by its format, and what it may bend."""

    liar: Liar
    models: Mapping[str, str]
    good: Mapping[tuple[str, bool], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """Who asks, how, and what the upstream answers."""

    client: str
    upstream: str
    stream: bool
    array: bool
    answer: bytes

    @property
    def converted(self) -> bool:
        return self.client != self.upstream


@pytest.fixture(scope="module")
def lies(fuzz_operator: Operator, demo: DemoProcess) -> Iterator[Lies]:
    with serve_liar() as liar:
        models = {
            kind.format: serve_model(
                fuzz_operator,
                {
                    "provider": kind.provider or kind.name,
                    "base_url": liar.base_url(kind.base),
                    "upstream_model": f"u-{kind.name}",
                    **kind.fields,
                },
                max_output_tokens=100,
            )
            for kind in KINDS[:4]
        }
        yield Lies(liar, models, good_answers(demo))


def _attempt(ground: Ground, lies: Lies, case: Case) -> None:
    lies.liar.answer = case.answer
    model = lies.models[case.upstream]
    path = path_of(case.client, model, stream=case.stream, array=case.array).encode()
    body = to_json(body_of(case.client, 1, model, stream=case.stream))
    answer = call(ground.port, post(path, ground.authorized((b"content-type", b"application/json")), body))
    ground.note(answer)
    _check(case, answer)


def _check(case: Case, answer: Answer) -> None:
    if answer.status != 200:
        assert answer.status != 500, answer.body
        check_error(case.client, answer)
    elif not case.stream:
        check_answer(case.client, answer, strict=case.converted)
    elif case.converted:
        check_stream(case.client, answer, strict=True, array=case.array and case.client == GENERATE)


@st.composite
def _whole(draw: DrawFn, good: Mapping[tuple[str, bool], tuple[bytes, ...]], *, structure: bool) -> Case:
    client, upstream = draw(st.sampled_from(FORMATS)), draw(st.sampled_from(FORMATS))
    body = draw(st.sampled_from(good[upstream, False]))
    bent = bent_value(json.loads(body)).map(to_json) if structure else bent_bytes(body)
    return Case(client, upstream, False, False, head(200, WHOLE) + draw(bent))


@st.composite
def _streamed(draw: DrawFn, good: Mapping[tuple[str, bool], tuple[bytes, ...]], *, structure: bool) -> Case:
    client, upstream = draw(st.sampled_from(FORMATS)), draw(st.sampled_from(FORMATS))
    body = draw(st.sampled_from(good[upstream, True]))
    bent = _bent_frames(body.split(b"\n\n")[:-1]).map(b"".join) if structure else bent_bytes(body)
    return Case(client, upstream, True, draw(st.booleans()), head(200, STREAM) + draw(bent))


@st.composite
def _bent_frames(draw: DrawFn, frames: list[bytes]) -> list[bytes]:
    """One to three changes: a frame away, twice, elsewhere, bent inside, another one, or the end."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(frames) - 1)))
        frame, rest = frames[at : at + 1], frames[:at] + frames[at + 1 :]
        match draw(st.sampled_from(("bend", "bend", "bend", "away", "twice", "move", "end", "done"))):
            case "bend":
                frames = [*frames[:at], *(draw(_bent_frame(each)) for each in frame), *frames[at + 1 :]]
            case "away":
                frames = rest
            case "twice":
                frames = frames[:at] + frame + frames[at:]
            case "move":
                to = draw(st.integers(0, len(rest)))
                frames = rest[:to] + frame + rest[to:]
            case "end":
                frames = frames[:at]
            case _:
                frames = [*frames[:at], b"data: [DONE]", *frames[at:]]
    return [frame + b"\n\n" for frame in frames]


@st.composite
def _bent_frame(draw: DrawFn, frame: bytes) -> bytes:
    lead, mark, data = frame.partition(b"data: ")
    try:
        value = json.loads(data)
    except ValueError:
        value = draw(st.sampled_from(VALUES))
    return lead + (mark or b"data: ") + to_json(draw(bent_value(value)))


@pytest.mark.parametrize("examples", AMOUNTS)
@pytest.mark.parametrize("structure", [False, True], ids=["bytes", "structure"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_bent_answers(ground: Ground, lies: Lies, stream: bool, structure: bool, examples: int) -> None:
    before = lies.liar.heard
    cases = (_streamed if stream else _whole)(lies.good, structure=structure)
    explore(examples, cases, lambda case: _attempt(ground, lies, case))
    assert lies.liar.heard - before >= examples // 2
    assert ground.statuses[200] > examples // 10
