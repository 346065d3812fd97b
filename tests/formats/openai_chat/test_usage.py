"""Usage as vendors report it, and as broken upstreams do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.usage import MAX_PLAUSIBLE_TOKENS, Usage
from app.formats.openai_chat.usage import OUTPUT_IN_TOTAL, REASONING_OUTSIDE, read_usage

OUTSIDE = frozenset({REASONING_OUTSIDE})


def counts(prompt: object = 10, completion: object = 5, **more: object) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def prompt_details(**details: object) -> dict[str, Any]:
    return counts(prompt_tokens_details=details)


def completion_details(**details: object) -> dict[str, Any]:
    return counts(completion_tokens_details=details)


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        pytest.param(
            counts(prompt_cache_hit_tokens=8, prompt_cache_miss_tokens=2),
            Usage(10, 5, cache_read_tokens=8),
            id="deepseek: the hit's own field alone",
        ),
        pytest.param(
            counts(prompt_cache_hit_tokens=8, prompt_tokens_details={"cached_tokens": 3}),
            Usage(10, 5, cache_read_tokens=3),
            id="OpenAI's field comes first",
        ),
        pytest.param(
            prompt_details(cache_write_tokens=2, cache_creation_input_tokens=4),
            Usage(10, 5, cache_write_tokens=2),
            id="OpenAI's word for written comes first",
        ),
        pytest.param(
            counts(prompt_tokens_details=None, completion_tokens_details=None), Usage(10, 5), id="details are null"
        ),
    ],
)
def test_fields(reported: object, usage: Usage) -> None:
    assert read_usage(reported) == usage


@pytest.mark.parametrize(
    ("total", "details", "usage"),
    [
        (40, {}, Usage(10, 30, reasoning_tokens=25)),
        (40, {"reasoning_tokens": 25}, Usage(10, 30, reasoning_tokens=25)),
        (15, {"reasoning_tokens": 4}, Usage(10, 5, reasoning_tokens=4)),
        (12, {}, Usage(10, 5)),
        (None, {}, Usage(10, 5)),
        (10**15, {}, Usage(10, 5)),
    ],
    ids=["in the total alone", "and told apart", "inside", "a total too small", "no total", "a total beyond belief"],
)
def test_output_in_the_total_alone(total: object, details: object, usage: Usage) -> None:
    report = counts(total_tokens=total, completion_tokens_details=details)

    assert read_usage(report, frozenset({OUTPUT_IN_TOTAL})) == usage
    without = read_usage(report)
    assert without is not None
    assert without.output_tokens == 5


XAI = {
    "prompt_tokens": 32,
    "completion_tokens": 9,
    "total_tokens": 135,
    "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0},
    "num_sources_used": 0,
    "cost_in_usd_ticks": 123456,
}


@pytest.mark.parametrize(
    ("reported", "quirks", "usage"),
    [
        pytest.param(XAI, OUTSIDE, Usage(32, 103, cache_read_tokens=6, reasoning_tokens=94), id="outside, as xai does"),
        pytest.param(
            XAI,
            frozenset(),
            Usage(32, 9, cache_read_tokens=6, reasoning_tokens=9),
            id="no quirk: it is inside",
        ),
        pytest.param(
            {**XAI, "completion_tokens": 103},
            OUTSIDE,
            Usage(32, 103, cache_read_tokens=6, reasoning_tokens=94),
            id="moved inside one day",
        ),
        pytest.param(
            {name: XAI[name] for name in XAI if name != "total_tokens"},
            OUTSIDE,
            Usage(32, 103, cache_read_tokens=6, reasoning_tokens=94),
            id="no total to tell by",
        ),
    ],
)
def test_reasoning_beside_the_completion(reported: object, quirks: frozenset[str], usage: Usage) -> None:
    assert read_usage(reported, quirks) == usage


def test_zero_is_believed() -> None:
    assert read_usage(counts(0, 0, total_tokens=0)) == Usage()


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        -1,
        MAX_PLAUSIBLE_TOKENS + 1,
        10**15,
        10**40,
        "10",
        10.0,
        float("inf"),
        float("nan"),
        True,
        False,
        [10],
        {"a": 1},
    ],
    ids=repr,
)
def test_a_count_that_cannot_be_is_no_report(field: str, value: object) -> None:
    assert read_usage({**counts(), field: value}) is None


@pytest.mark.parametrize(
    "reported",
    [
        None,
        [],
        "x",
        5,
        True,
        {},
        {"prompt_tokens": 3},
        {"completion_tokens": 3},
        {"total_tokens": 3},
        {"input_tokens": 3},
    ],
    ids=repr,
)
def test_what_holds_no_counts_is_no_report(reported: object) -> None:
    assert read_usage(reported) is None


@pytest.mark.parametrize("value", [None, -5, 10**15, "3", 3.0, True, {}], ids=repr)
@pytest.mark.parametrize(
    "where",
    [
        lambda v: prompt_details(cached_tokens=v, cache_write_tokens=v, audio_tokens=v),
        lambda v: completion_details(reasoning_tokens=v, audio_tokens=v),
        lambda v: counts(prompt_tokens_details=v, completion_tokens_details=v),
        lambda v: counts(prompt_cache_hit_tokens=v),
    ],
    ids=["of the prompt", "of the completion", "no objects", "deepseek's"],
)
def test_details_that_cannot_be_are_left_out(where: Any, value: object) -> None:
    assert read_usage(where(value)) == Usage(10, 5)


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (prompt_details(cached_tokens=11), Usage(10, 5, cache_read_tokens=10)),
        (prompt_details(cache_write_tokens=999), Usage(10, 5, cache_write_tokens=10)),
        (prompt_details(audio_tokens=11), Usage(10, 5, input_audio_tokens=10)),
        (completion_details(audio_tokens=6), Usage(10, 5, output_audio_tokens=5)),
        (completion_details(reasoning_tokens=6), Usage(10, 5, reasoning_tokens=5)),
    ],
    ids=["cached", "written", "audio in", "audio out", "reasoning"],
)
def test_no_part_is_larger_than_its_whole(reported: object, usage: Usage) -> None:
    assert read_usage(reported) == usage


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(list(XAI)), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*XAI, "prompt_cache_hit_tokens"]), JSON), st.sampled_from([OUTSIDE, frozenset()])
)
def test_whatever_comes_no_count_is_negative_or_beyond_belief(reported: object, quirks: frozenset[str]) -> None:
    usage = read_usage(reported, quirks)

    if usage is not None:
        assert all(0 <= count <= 2 * MAX_PLAUSIBLE_TOKENS for count in usage.counts().values())
        assert usage.cache_read_tokens <= usage.input_tokens
        assert usage.reasoning_tokens <= usage.output_tokens
