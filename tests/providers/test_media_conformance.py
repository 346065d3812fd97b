"""Every provider of media: its fixtures, and what holds for all of them. How to add one: `media_fixtures/__init__.py`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.catalog.variants import TRAITS
from app.core.media import Job, Scope
from app.core.usage import Usage
from app.errors import GatewayError, UpstreamError
from app.providers import discover
from app.providers.media import Call, Character, Done, Failed, Handle, Media, Outcome, Reply, Running, Site
from app.providers.replies import MAX_MESSAGE
from tests.providers import media_fixtures
from tests.providers.media_fixtures import (
    KEY,
    MODEL,
    Cancels,
    Case,
    Created,
    Creates,
    Fault,
    Finds,
    Found,
    Polled,
    Polls,
    Refused,
    Sent,
    Submitted,
    job,
    parse,
    reply_like,
)

REGISTRY = discover()


@dataclass(frozen=True, slots=True)
class Suite:
    """One provider and its module of fixtures."""

    name: str
    media: Media
    site: Site
    cases: tuple[Case, ...] = field(repr=False)

    def of(self, kind: type[Any]) -> list[Any]:
        return [case for case in self.cases if isinstance(case, kind)]


def read_suites() -> Iterator[Suite]:
    """One for each name in each module's `PROVIDERS`."""
    for found in pkgutil.iter_modules(media_fixtures.__path__):
        module = importlib.import_module(f"{media_fixtures.__name__}.{found.name}")
        for name in module.PROVIDERS:
            provider = REGISTRY[name]
            assert provider.media is not None, f"{name} has fixtures, and no media"
            base_url = provider.base_url or "https://upstream.example"
            site = getattr(module, "SITE", None) or Site(base_url)
            yield Suite(name, provider.media, site, module.CASES)


SUITES = {suite.name: suite for suite in read_suites()}
EVERY = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)


def each(kind: type[Any]) -> Callable[[Any], Any]:
    """One test for each case of this kind of each provider."""
    pairs = [(suite, case) for suite in SUITES.values() for case in suite.of(kind)]
    ids = [f"{suite.name}-{case.name}" for suite, case in pairs]
    return pytest.mark.parametrize(("suite", "case"), pairs, ids=ids)


def compare(read: Callable[[], Outcome | Character | None], expected: object) -> None:
    """What a reply was read into, or the error that it raised."""
    if not isinstance(expected, Fault):
        assert read() == expected
        return
    with pytest.raises(UpstreamError) as caught:
        read()
    assert (caught.value.code, caught.value.retryable) == (expected.code, expected.retryable)


def test_every_provider_of_media_has_fixtures() -> None:
    assert set(SUITES) == {name for name, provider in REGISTRY.items() if provider.media is not None}


@each(Sent)
def test_a_job_becomes_this_call(suite: Suite, case: Sent) -> None:
    suite.media.check(case.job, MODEL)
    assert suite.media.submit(case.job, MODEL, KEY, suite.site) == case.call
    if case.units is not None:
        assert suite.media.units(case.job, MODEL) == case.units


@each(Refused)
def test_what_it_cannot_do_is_refused_by_name(suite: Suite, case: Refused) -> None:
    with pytest.raises(GatewayError) as caught:
        suite.media.check(case.job, MODEL)
    assert not isinstance(caught.value, UpstreamError)
    assert (caught.value.status, caught.value.param) == (400, case.param)


@each(Submitted)
def test_an_answer_to_the_submission_is_read(suite: Suite, case: Submitted) -> None:
    compare(lambda: suite.media.read_submitted(case.job, case.reply), case.outcome)


@each(Polls)
def test_a_task_is_asked_after_so(suite: Suite, case: Polls) -> None:
    assert suite.media.poll(case.handle, suite.site) == case.call


@each(Polled)
def test_an_answer_to_a_poll_is_read(suite: Suite, case: Polled) -> None:
    compare(lambda: suite.media.read_polled(case.handle, case.reply), case.outcome)


@each(Cancels)
def test_a_task_is_stopped_so(suite: Suite, case: Cancels) -> None:
    assert suite.media.cancel(case.handle, suite.site) == case.call


@each(Finds)
def test_a_lost_submission_is_looked_for_so(suite: Suite, case: Finds) -> None:
    assert suite.media.find(case.job, MODEL, KEY, suite.site) == case.call


@each(Found)
def test_what_was_found_is_read(suite: Suite, case: Found) -> None:
    compare(lambda: suite.media.read_found(case.job, KEY, case.reply), case.outcome)


@each(Creates)
def test_a_character_is_made_so(suite: Suite, case: Creates) -> None:
    assert suite.media.characters is not None
    assert suite.media.characters.create(case.job, suite.site) == case.call


@each(Created)
def test_a_character_is_read(suite: Suite, case: Created) -> None:
    characters = suite.media.characters
    assert characters is not None
    compare(lambda: characters.read_created(case.reply), case.outcome)


@EVERY
def test_it_says_what_it_is(suite: Suite) -> None:
    media = suite.media
    assert media.platform.isidentifier()
    assert media.scopes
    assert media.scopes <= set(Scope)
    assert {scope for case in suite.of(Sent) for scope in [case.job.scope]} == media.scopes, "a scope without a case"
    assert bool(suite.of(Creates)) == (media.characters is not None)


@EVERY
@pytest.mark.parametrize("scope", Scope)
def test_a_scope_without_an_endpoint_is_refused(suite: Suite, scope: Scope) -> None:
    if scope in suite.media.scopes:
        return
    with pytest.raises(GatewayError) as caught:
        suite.media.check(job(scope=scope), MODEL)
    assert caught.value.status == 400


@EVERY
def test_units_are_what_prices_know(suite: Suite) -> None:
    """One kind of piece by scope, traits by their names in the catalogue, and the same answer twice."""
    for case in suite.of(Sent):
        units = suite.media.units(case.job, MODEL)
        assert units == suite.media.units(case.job, MODEL)
        assert set(units.traits) <= set(TRAITS)
        assert all(isinstance(value, str) and 0 < len(value) <= 64 for value in units.traits.values())
        assert units.traits.get("hd", "true") == "true"
        pieces = {Scope.IMAGES: units.images, Scope.VIDEOS: units.videos, Scope.AUDIO: units.characters}
        assert pieces.pop(case.job.scope) > 0
        assert not any(pieces.values())
        assert Usage(**units.counts()) == units, "a row keeps it as counts"


@EVERY
def test_calls_stay_at_the_upstream(suite: Suite) -> None:
    """A path below the base URL, or a URL of the same origin; credentials are the gateway's to add."""
    for call in _calls_of(suite):
        if call.path.startswith("/"):
            url = urlsplit(suite.site.base_url + call.path)
        else:
            url = urlsplit(call.path)
            base = urlsplit(suite.site.base_url)
            assert (url.scheme, url.netloc) == (base.scheme, base.netloc)
        assert ".." not in url.path.split("/")
        assert " " not in call.path
        assert call.path.isascii()
        assert call.json is None or call.form is None
        assert "authorization" not in {name.lower() for name in call.headers}
        assert all(name == name.lower() for name in call.headers)


@EVERY
def test_an_id_cannot_leave_its_place(suite: Suite) -> None:
    """An upstream's own word stands in a path: it stays one segment, or is refused."""
    for case in suite.of(Polls):
        plain = urlsplit(suite.media.poll(case.handle, suite.site).path)
        for id in ("a/../../b", "a?b=c", "a#b", "a b", "a%2Fb", "ä"):
            odd = Handle(id, case.handle.memo, case.handle.scope, case.handle.model)
            try:
                path = urlsplit(suite.media.poll(odd, suite.site).path)
            except (UpstreamError, ValueError):
                continue
            assert path.geturl().isascii()
            assert (path.scheme, path.netloc) == (plain.scheme, plain.netloc)
            assert path.path.count("/") == plain.path.count("/") or "/" in case.handle.id
            assert path.query.count("&") == plain.query.count("&")
            assert not path.fragment


@EVERY
def test_nothing_that_was_sent_is_shown(suite: Suite) -> None:
    """A call may end up in a log; prompts and pictures may not."""
    secret = "do-not-show-this-prompt"
    for case in suite.of(Sent):
        call = suite.media.submit(job(secret, case.job.scope, extra=case.job.extra), MODEL, KEY, suite.site)
        assert secret not in repr(call)


@EVERY
@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 529])
def test_trouble_of_the_upstream_is_no_verdict(suite: Suite, status: int) -> None:
    """Another try or channel may do: neither a submission nor a task has failed."""
    reply = Reply(status, {}, b'{"error": {"message": "Our account of sk-secret is empty.", "code": "trouble"}}')
    for read in _readers_of(suite):
        with pytest.raises(UpstreamError) as caught:
            read(reply)
        assert caught.value.retryable
        assert caught.value.upstream_status == status
        assert "sk-secret" not in caught.value.message


@EVERY
def test_a_request_at_fault_fails_the_task_in_the_upstreams_words(suite: Suite) -> None:
    reply = Reply(400, {}, b'{"error": {"message": "The prompt is too long.", "code": "too_long"}}')
    for case in suite.of(Sent):
        outcome = suite.media.read_submitted(case.job, reply)
        assert outcome == Failed("The prompt is too long.", "too_long")


ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**63,
        10**18,
        0.5,
        -0.0,
        1e308,
        "",
        " ",
        ".",
        "..",
        "a/b",
        "\x00",
        "\u2028",
        "ä" * 300,
    ),
    *("0", "-1", "nan", "inf", "1e999", "9" * 400, "100%", "data:", "data:,", "data:;base64,%", "data:text/html,<b>"),
    *("http://", "https://[", "https://files.example/ x", "javascript:alert(1)", "SUCCESS", "completed", "failed"),
    *([], [None], [[]], [{}], ["x"], {}, {"a": {}}, {"message": ["x"]}, {"code": {}}, {"error": None}),
)
"""What careless or changed upstreams put where something else is meant to be."""

ANY_HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "openai-poll-after-ms", "location"]),
    st.text(max_size=20),
    max_size=3,
)


@EVERY
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_an_outcome_or_an_upstream_error(suite: Suite, data: st.DataObject) -> None:
    read = data.draw(st.sampled_from(_readers_of(suite)))
    body = data.draw(st.binary(max_size=200))
    reply = Reply(data.draw(st.sampled_from([200, 201, 202, 204, 301, 400, 404, 500])), data.draw(ANY_HEADERS), body)
    _read_anything(read, reply)


@EVERY
def test_a_spoilt_answer_is_an_outcome_or_an_upstream_error(suite: Suite) -> None:
    """Each value of each answer in the fixtures, replaced by each of these, and left out."""
    for read, good in _answers_of(suite):
        body = parse(good.body)
        for place in _places_in(body):
            for odd in ODD:
                _read_anything(read, reply_like(good, _replaced(body, place, odd)))
            if place and isinstance(place[-1], str):
                _read_anything(read, reply_like(good, _without(body, place)))


def _read_anything(read: Callable[[Reply], object], reply: Reply) -> None:
    try:
        outcome = read(reply)
    except UpstreamError:
        return
    match outcome:
        case Done(outputs):
            assert outputs
            for output in outputs:
                assert [output.data, output.url, output.call].count(None) == 2
                assert output.content_type.isascii()
                assert output.data != b""
        case Running(status, id, progress, _, pause):
            assert not status.final
            assert id
            assert progress is None or 0 <= progress <= 100
            assert pause is None or 0 <= pause < float("inf")
        case Failed(reason, code):
            assert reason
            assert len(reason) <= MAX_MESSAGE
            assert code


def _places_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _places_in(inner, (*at, name))


def _replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _replaced(value[place[0]], place[1:], new)
    return copy


def _without(value: Any, place: tuple[Any, ...]) -> Any:
    copy = value.copy()
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = _without(value[place[0]], place[1:])
    return copy


def _calls_of(suite: Suite) -> Iterator[Call]:
    media, site = suite.media, suite.site
    for case in suite.of(Sent):
        yield media.submit(case.job, MODEL, KEY, site)
        if (found := media.find(case.job, MODEL, KEY, site)) is not None:
            yield found
    for case in suite.of(Polls):
        yield media.poll(case.handle, site)
        if (stop := media.cancel(case.handle, site)) is not None:
            yield stop
    for case in suite.of(Polled):
        if isinstance(case.outcome, Done):
            yield from (output.call for output in case.outcome.outputs if output.call is not None)
    if media.characters is not None:
        yield from (media.characters.create(case.job, site) for case in suite.of(Creates))


def _readers_of(suite: Suite) -> list[Callable[[Reply], object]]:
    """Everything that reads a reply, on the jobs and handles of the fixtures."""
    media = suite.media
    jobs: list[Job] = [case.job for case in suite.of(Sent)]
    handles: list[Handle] = [case.handle for case in suite.of(Polled)]  # none where the result is the answer
    readers: list[Callable[[Reply], object]] = []
    readers += [lambda reply, job=job: media.read_submitted(job, reply) for job in jobs]  # type: ignore[misc]
    readers += [lambda reply, handle=handle: media.read_polled(handle, reply) for handle in handles]  # type: ignore[misc]
    if any(case.call is not None for case in suite.of(Finds)):
        readers += [lambda reply, job=job: media.read_found(job, KEY, reply) for job in jobs]  # type: ignore[misc]
    if media.characters is not None:
        readers.append(media.characters.read_created)
    return readers


def _answers_of(suite: Suite) -> list[tuple[Callable[[Reply], object], Reply]]:
    """Each reply in the fixtures, with what reads it."""
    media = suite.media
    answers: list[tuple[Callable[[Reply], object], Reply]] = []
    for case in suite.of(Submitted):
        answers.append((lambda reply, job=case.job: media.read_submitted(job, reply), case.reply))  # type: ignore[misc]
    for case in suite.of(Polled):
        answers.append((lambda reply, handle=case.handle: media.read_polled(handle, reply), case.reply))  # type: ignore[misc]
    for case in suite.of(Found):
        answers.append((lambda reply, job=case.job: media.read_found(job, KEY, reply), case.reply))  # type: ignore[misc]
    if media.characters is not None:
        answers += [(media.characters.read_created, case.reply) for case in suite.of(Created)]
    return answers
