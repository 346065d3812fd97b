"""Reading a Chat Completions request, and patching it without touching the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import GatewayError
from app.formats.body import MAX_OUTPUT_CAP
from app.formats.openai_chat import FORMAT
from app.formats.openai_chat.request import MAX_CHOICES

TOO_DEEP = b"[" * 100_000 + b"]" * 100_000


def body(*extra: bytes, model: bytes = b'"m"', messages: bytes = b"[]") -> bytes:
    return b"{" + b",".join([b'"model":' + model, b'"messages":' + messages, *extra]) + b"}"


def refused(raw: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_request(raw)
    assert caught.value.status == 400
    FORMAT.write_error(caught.value)
    return caught.value


def written(raw: bytes, *, model: str = "up", output_cap: int | None = None, cap_field: str = "max_tokens") -> bytes:
    return FORMAT.write_request(FORMAT.read_request(raw), model=model, output_cap=output_cap, cap_field=cap_field)


# -- what is read ------------------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    request = FORMAT.read_request(body())

    assert (request.model, request.stream, request.wants_usage) == ("m", False, False)
    assert (request.output_cap, request.choices) == (None, 1)


def test_everything_at_once() -> None:
    request = FORMAT.read_request(
        body(b'"stream":true', b'"stream_options":{"include_usage":true}', b'"max_completion_tokens":7', b'"n":3')
    )

    assert (request.stream, request.wants_usage) == (True, True)
    assert (request.output_cap, request.choices) == (7, 3)


def test_null_is_absent() -> None:
    request = FORMAT.read_request(
        body(
            b'"stream":null',
            b'"stream_options":null',
            b'"max_tokens":null',
            b'"max_completion_tokens":null',
            b'"n":null',
        )
    )

    assert (request.stream, request.wants_usage) == (False, False)
    assert (request.output_cap, request.choices) == (None, 1)


def test_the_larger_of_two_caps_is_what_an_upstream_may_heed() -> None:
    request = FORMAT.read_request(body(b'"max_tokens":900', b'"max_completion_tokens":7'))

    assert request.output_cap == 900


@pytest.mark.parametrize("value", [b"1", b'"1"', b"{}", b"[]", b"0.5", b'"true"'], ids=bytes.decode)
def test_stream_must_be_a_boolean(value: bytes) -> None:
    error = refused(body(b'"stream":' + value))

    assert (error.code, error.param) == ("invalid_type", "stream")


@pytest.mark.parametrize("field", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [b'"5"', b"1.5", b"1e2", b"true", b"{}", b"[1]"], ids=bytes.decode)
def test_counts_must_be_integers(field: str, value: bytes) -> None:
    error = refused(body(b'"%b":%b' % (field.encode(), value)))

    assert (error.code, error.param) == ("invalid_type", field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (field, value)
        for field, most in (
            ("n", MAX_CHOICES),
            ("max_tokens", MAX_OUTPUT_CAP),
            ("max_completion_tokens", MAX_OUTPUT_CAP),
        )
        for value in (0, -1, most + 1, 10**30)
    ],
)
def test_counts_have_bounds(field: str, value: int) -> None:
    error = refused(body(b'"%b":%d' % (field.encode(), value)))

    assert (error.code, error.param) == ("invalid_value", field)


@pytest.mark.parametrize(
    "value",
    [b'"x"', b"[]", b"true", b'{"include_usage":1}', b'{"include_usage":"yes"}', b'{"include_usage":{}}'],
    ids=bytes.decode,
)
def test_stream_options_must_be_an_object_of_booleans(value: bytes) -> None:
    error = refused(body(b'"stream":true', b'"stream_options":' + value))

    assert (error.code, error.param) == ("invalid_type", "stream_options")


@pytest.mark.parametrize("value", [b"1", b"{}", b'["m"]', b"true", b'"\\ud83d"'], ids=bytes.decode)
def test_model_must_be_a_string(value: bytes) -> None:
    error = refused(body(model=value))

    assert (error.code, error.param) == ("invalid_type", "model")


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        pytest.param(b'{"messages":[]}', "model", id="no model"),
        pytest.param(body(model=b'""'), "model", id="empty model"),
        pytest.param(body(model=b"null"), "model", id="null model"),
        pytest.param(b'{"model":"m"}', "messages", id="no messages"),
    ],
)
def test_model_and_messages_are_required(raw: bytes, param: str) -> None:
    assert refused(raw).param == param


@pytest.mark.parametrize("value", [b"{}", b'"hi"', b"1", b"null", b"true"], ids=bytes.decode)
def test_messages_must_be_an_array(value: bytes) -> None:
    error = refused(body(messages=value))

    assert (error.code, error.param) == ("invalid_type", "messages")


# -- bodies that are no request ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b"nonsense", id="no JSON"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b'"m"', id="a string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" + body() + b"]", id="in an array"),
        pytest.param(body() + b"{}", id="two objects"),
        pytest.param(body(b'"x":NaN'), id="NaN"),
        pytest.param(body(b'"x":-Infinity'), id="-Infinity"),
        pytest.param(body(b'"x":NaN', b'"y":"\\ud83d"'), id="NaN beside a lone surrogate"),
        pytest.param(body(b'"x":01'), id="a leading zero"),
        pytest.param(body(b'"x":1,'), id="a trailing comma"),
        pytest.param(body(b"'x':1"), id="single quotes"),
        pytest.param(body(b'"x":"\n"'), id="a raw control character"),
        pytest.param(body(b'"x":"\\q"'), id="an unknown escape"),
        pytest.param(body(b'"x":"\\ud83"'), id="half an escape"),
        pytest.param(body(b'"x":"\\ud83d'), id="a lone surrogate and no end"),
        pytest.param(body(b'"\\ud83d":1'), id="a lone surrogate in a field's name"),
        pytest.param(body(b'"x":' + TOO_DEEP), id="nested 100,000 deep"),
        pytest.param(body(messages=TOO_DEEP), id="messages nested 100,000 deep"),
        pytest.param(body(b'"y":"\\ud83d"', b'"x":' + TOO_DEEP), id="nested beside a lone surrogate"),
        pytest.param(b"\xef\xbb\xbf" + body(), id="a byte-order mark"),
        pytest.param(body().decode().encode("utf-16"), id="UTF-16"),
        pytest.param(body().decode().encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(body().decode().encode("utf-32"), id="UTF-32"),
        pytest.param(body(b'"x":"\xff"'), id="no UTF-8"),
        pytest.param(body(b'"x":"\xed\xa0\xbd"'), id="a surrogate in UTF-8"),
        pytest.param(body(b'"x":"\xc0\x80"'), id="overlong UTF-8"),
        pytest.param(body(b'"x":"\xe6\xb1"'), id="UTF-8 cut off"),
        pytest.param(b"\0" * 64, id="NULs"),
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    assert refused(raw).code == "invalid_json"


def test_no_body() -> None:
    assert refused(b"").code == "missing_body"


# -- what is written ---------------------------------------------------------------------------------------------------

SPELLINGS = (
    b"1.0", b"1e5", b"1E+5", b"-0", b"-0.0", b"123456789012345678901234567890", b"0.1000000000000000055511151231257827",
    b"1e400", b"true", b"null", b"[]", b"{ }", b'[1,\n  2 , {"a" : [] }]',
    b'"\\u0041\\/\\b"', '"é\u2028😀"'.encode(), b'"\\ud83d\\ude00"', b'{"a":1,"a":2}',
)  # fmt: skip
SURROGATES = (b'"\\ud83d"', b'{"text":"cut \\uDE00","x":1.0}', b'["\\ud83dx", 1e400, 1.00]')
NAMES = st.sampled_from(
    ["temperature", "tools", "metadata", "x_vendor", "é", "a b", "seed", "usage", "error", "\\u0061b"]
)


@st.composite
def requests(draw: st.DrawFn, *, surrogates: bool) -> tuple[bytes, dict[str, bytes]]:
    """A request as bytes, and the bytes of each of its fields."""
    values = st.one_of(
        st.sampled_from(SPELLINGS + (SURROGATES if surrogates else ())),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")),
    )
    fields = draw(st.dictionaries(NAMES, values, max_size=5))
    fields["model"] = b'"asked \\u0066or"'
    fields["messages"] = draw(st.sampled_from([b"[]", b'[ {"role":"user","content":"h\\u0069"} ]']))
    if surrogates:
        fields["user"] = draw(st.sampled_from(SURROGATES))
    blank = draw(st.sampled_from([b"", b" ", b"\n\t "]))
    order = draw(st.permutations(list(fields)))
    pairs = [blank + b'"' + name.encode() + b'"' + blank + b":" + blank + fields[name] + blank for name in order]
    return blank + b"{" + b",".join(pairs) + b"}" + blank, {json.loads(f'"{n}"'): fields[n] for n in fields}


def raw_fields(raw: bytes) -> dict[str, bytes]:
    """The fields of an object as bytes, cut by the standard library's scanner."""
    text, at, found = raw.decode(), 1, {}
    decoder = json.JSONDecoder()
    while text[at] != "}":
        at += text[at] == ","
        name, at = decoder.raw_decode(text, at)
        _, end = decoder.raw_decode(text, at + 1)
        found[name] = text[at + 1 : end].encode()
        at = end
    return found


@given(requests(surrogates=False))
def test_every_field_but_the_model_goes_out_as_it_came(made: tuple[bytes, dict[str, bytes]]) -> None:
    raw, fields = made

    assert raw_fields(written(raw)) == {**fields, "model": b'"up"'}


@given(requests(surrogates=True))
def test_escaped_lone_surrogates_go_out_as_they_came_with_all_the_rest(made: tuple[bytes, dict[str, bytes]]) -> None:
    raw, fields = made

    assert raw_fields(written(raw)) == {**fields, "model": b'"up"'}


@pytest.mark.parametrize(
    "raw", [body(b'"x":1', b'"x":2'), body(b'"x":"\\ud83d"', b'"x":2')], ids=["fast", "with a lone surrogate"]
)
def test_of_a_field_that_comes_twice_the_last_counts_and_only_it_goes_out(raw: bytes) -> None:
    assert raw_fields(written(raw))["x"] == b"2"
    assert written(raw).count(b'"x"') == 1


def test_the_gateway_and_the_upstream_see_the_same_of_a_doubled_field() -> None:
    raw = body(b'"model":"second"', b'"max_tokens":5', b'"max_tokens":6', b'"n":1', b'"n":2')
    request = FORMAT.read_request(raw)

    assert (request.model, request.output_cap, request.choices) == ("second", 6, 2)
    assert raw_fields(written(raw)) == {"model": b'"up"', "messages": b"[]", "max_tokens": b"6", "n": b"2"}


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        pytest.param([], {"include_usage": True}, id="absent"),
        pytest.param([b'"stream_options":null'], {"include_usage": True}, id="null"),
        pytest.param([b'"stream_options":{}'], {"include_usage": True}, id="empty"),
        pytest.param([b'"stream_options":{"include_usage":false}'], {"include_usage": True}, id="refused"),
        pytest.param(
            [b'"stream_options":{"include_obfuscation":false,"x":1.0}'],
            {"include_obfuscation": False, "x": 1.0, "include_usage": True},
            id="others kept",
        ),
    ],
)
def test_a_stream_always_asks_for_usage(extra: list[bytes], options: dict[str, Any]) -> None:
    raw = body(b'"stream":true', *extra)

    assert json.loads(written(raw))["stream_options"] == options
    assert not FORMAT.read_request(raw).wants_usage


def test_stream_options_that_ask_for_usage_are_not_touched() -> None:
    options = b'{ "include_usage" : true, "x":1.0 }'

    assert raw_fields(written(body(b'"stream":true', b'"stream_options":' + options)))["stream_options"] == options


def test_without_a_stream_nothing_is_forced() -> None:
    assert "stream_options" not in json.loads(written(body(b'"stream":false')))


@pytest.mark.parametrize(
    ("extra", "sent"),
    [
        pytest.param([], {"max_tokens": 50}, id="no cap: the provider's field"),
        pytest.param([b'"max_completion_tokens":900'], {"max_completion_tokens": 50}, id="max_completion_tokens"),
        pytest.param([b'"max_tokens":900'], {"max_tokens": 50}, id="max_tokens"),
        pytest.param([b'"max_tokens":null'], {"max_tokens": 50}, id="null"),
        pytest.param(
            [b'"max_tokens":900', b'"max_completion_tokens":7'],
            {"max_tokens": 50, "max_completion_tokens": 7},
            id="both",
        ),
        pytest.param(
            [b'"max_tokens":900', b'"max_completion_tokens":null'],
            {"max_tokens": 50, "max_completion_tokens": None},
            id="one of them null",
        ),
    ],
)
def test_the_cap_is_lowered_where_the_client_put_it(extra: list[bytes], sent: dict[str, Any]) -> None:
    out = json.loads(written(body(*extra), output_cap=50))

    assert {name: out[name] for name in out if name.startswith("max_")} == sent


def test_a_cap_that_fits_goes_out_as_it_came() -> None:
    assert raw_fields(written(body(b'"max_tokens":9')))["max_tokens"] == b"9"


def test_the_upstreams_name_is_written_as_json() -> None:
    assert json.loads(written(body(), model='we"ird\n名'))["model"] == 'we"ird\n名'
