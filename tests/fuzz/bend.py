"""Ways to bend good input: its bytes, its tokens, its structure. Hypothesis chooses, so a failure repeats and shrinks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

Place: TypeAlias = tuple[str | int, ...]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')

TOKENS = (
    b"null", b"true", b"0", b"-1", b"-0", b"1.5", b"1e999", b"-1e-999", b"NaN", b"Infinity", b"9223372036854775808",
    b"1" * 400, b"1" + b"0" * 5000, b'""', b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff\xfe"', b'"\xed\xa0\x80"',
    b'"\xf0\x9f\x98\x80"', b"[]", b"{}", b"[[]]", b'{"":{}}', b"[" * 5000, b'{"a":' * 2000, b"[" * 900 + b"]" * 900,
    b'"' + b"a" * 5000 + b'"', b'"a\nb"', b"'a'", b"//", b"\xef\xbb\xbf", b"\x00", b"", b",", b"}", b'"',
)  # fmt: skip
"""What stands in the place of a value: of other types, beyond bounds, and no JSON at all."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e300, 2**63, 2**64, -(2**63) - 1, 10**30, "", "x", "\x00", "\ud800", "😀", "a" * 3000,
    "auto", "data:;base64,", "data:image/png;base64,!", "http://127.0.0.1:1/", "call_1", "{", [], [[]], [None], ["x"], [{}],
    [1, "x", None], {}, {"": None}, {"type": "text"}, {"type": "x"}, {"\ud800": 1}, {"role": "user", "content": "x"},
    [{"type": "text", "text": "x"}],
)  # fmt: skip
"""Values of every type, some of them good ones in other places."""


def explore(examples: int, strategy: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Tries so many examples, the same ones in every run."""
    tune = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    def told(case: Any) -> None:
        note(repr(case)[:5000])
        check(case)

    tune(given(strategy)(told))()


@st.composite
def bent_bytes(draw: DrawFn, good: bytes) -> bytes:
    """One to three changes of bytes or of tokens."""
    body = good
    for _ in range(draw(st.integers(1, 3))):
        body = draw(st.sampled_from(_BENDS))(draw, body)
    return body


def _flip(draw: DrawFn, body: bytes) -> bytes:
    at = draw(_index(body))
    return body[:at] + bytes([body[at] ^ 1 << draw(st.integers(0, 7))]) + body[at + 1 :] if body else body


def _cut(draw: DrawFn, body: bytes) -> bytes:
    return body[: draw(_index(body))]


def _drop(draw: DrawFn, body: bytes) -> bytes:
    at = draw(_index(body))
    return body[:at] + body[at + draw(st.integers(1, 40)) :]


def _double(draw: DrawFn, body: bytes) -> bytes:
    at = draw(_index(body))
    end = at + draw(st.integers(1, 200))
    return body[:end] + body[at:end] + body[end:]


def _insert(draw: DrawFn, body: bytes) -> bytes:
    at = draw(_index(body))
    return body[:at] + draw(st.binary(min_size=1, max_size=20)) + body[at:]


def _swap(draw: DrawFn, body: bytes) -> bytes:
    """Another token in the place of one."""
    found = list(_TOKEN.finditer(body))
    if not found:
        return draw(st.sampled_from(TOKENS))
    one = draw(st.sampled_from(found))
    other: bytes = draw(st.sampled_from((*TOKENS, draw(st.sampled_from(found))[0])))
    return body[: one.start()] + other + body[one.end() :]


def _repeat_field(draw: DrawFn, body: bytes) -> bytes:
    """A name twice in one object."""
    names = [match for match in _TOKEN.finditer(body) if body[match.end() : match.end() + 1] == b":"]
    if not names:
        return body
    name = draw(st.sampled_from(names))
    again: bytes = name[0] + b":" + draw(st.sampled_from(TOKENS[:12])) + b","
    return body[: name.start()] + again + body[name.start() :]


_BENDS: tuple[Callable[[DrawFn, bytes], bytes], ...] = (
    _swap, _swap, _swap, _repeat_field, _flip, _cut, _drop, _double, _insert,
)  # fmt: skip


def _index(body: bytes) -> SearchStrategy[int]:
    return st.integers(0, max(0, len(body) - 1))


# -- structure ---------------------------------------------------------------------------------------------------------


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where there are values within a value, itself not among them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*at, name)
        yield from places(each, (*at, name))


def look(value: Any, place: Place) -> Any:
    for name in place:
        value = value[name]
    return value


def replaced(value: Any, place: Place, other: Any) -> Any:
    """A copy with another value in one place."""
    if not place:
        return other
    name, *rest = place
    if isinstance(value, dict):
        return {each: replaced(inner, tuple(rest), other) if each == name else inner for each, inner in value.items()}
    return [replaced(inner, tuple(rest), other) if at == name else inner for at, inner in enumerate(value)]


def removed(value: Any, place: Place) -> Any:
    """A copy without that place."""
    holder, name = look(value, place[:-1]), place[-1]
    if isinstance(holder, dict):
        left: Any = {each: inner for each, inner in holder.items() if each != name}
    else:
        left = [inner for at, inner in enumerate(holder) if at != name]
    return replaced(value, place[:-1], left)


_NAMES = ("type", "id", "role", "content", "text", "name", "cache_control", "x", "", "__proto__", "error", "fallbacks")
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=5), inner),
    max_leaves=8,
)


@st.composite
def bent_value(draw: DrawFn, good: Any) -> Any:
    """One to three changes of structure: something else in a place, nothing there, more there, two places swapped."""
    value = good
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            return draw(_ANY)
        place = draw(st.sampled_from(found))
        match draw(st.sampled_from(("value", "value", "any", "remove", "wrap", "swap", "add"))):
            case "value":
                value = replaced(value, place, draw(st.sampled_from(VALUES)))
            case "any":
                value = replaced(value, place, draw(_ANY))
            case "remove":
                value = removed(value, place)
            case "wrap":
                value = replaced(value, place, [look(value, place)])
            case "swap":
                value = replaced(value, place, look(value, draw(st.sampled_from(found))))
            case _:
                value = _with_more(draw, value, place)
    return value


def _with_more(draw: DrawFn, value: Any, place: Place) -> Any:
    """One field or item more in an object or an array."""
    holder = look(value, place)
    if isinstance(holder, dict):
        return replaced(value, place, {**holder, draw(st.sampled_from(_NAMES)): draw(st.sampled_from(VALUES))})
    if isinstance(holder, list):
        return replaced(value, place, [*holder, draw(st.sampled_from(VALUES)), *holder[:1]])
    return replaced(value, place, [holder, holder])


def to_json(value: Any) -> bytes:
    """JSON with escaped surrogates, as JavaScript writes it."""
    return json.dumps(value).encode()
