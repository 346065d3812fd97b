"""Names with a star in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.wildcards import Wildcard, fill_in, may_match, read_wildcard


@pytest.mark.parametrize(
    ("pattern", "name", "star"),
    [
        ("gpt-*", "gpt-5", "5"),
        ("gpt-*", "gpt-", ""),
        ("gpt-*", "gp", None),
        ("*", "anything", "anything"),
        ("*-mini", "gpt-mini", "gpt"),
        ("a*a", "a", None),
        ("a*a", "aa", ""),
        ("org/*:free", "org/x/y:free", "x/y"),
        ("gpt-*", "GPT-5", None),
    ],
)
def test_what_a_star_stands_for(pattern: str, name: str, star: str | None) -> None:
    wildcard = read_wildcard(pattern)
    assert wildcard is not None
    assert wildcard.match(name) == star


@pytest.mark.parametrize("name", ["gpt-5", "a*b*", "**"])
def test_a_name_without_a_star_or_with_two_is_itself(name: str) -> None:
    assert read_wildcard(name) is None


def test_the_longest_fixed_part_goes_first() -> None:
    wildcards = [wildcard for name in ("*", "g*", "gpt-*", "g*pt-4", "*t") if (wildcard := read_wildcard(name))]
    ranked = sorted(wildcards, key=lambda wildcard: wildcard.rank)
    assert ["*".join(wildcard) for wildcard in ranked] == ["g*pt-4", "gpt-*", "*t", "g*", "*"]


@given(st.text("ab/-"), st.text("ab/-"), st.text("ab/-"))
def test_filling_in_undoes_matching(prefix: str, suffix: str, star: str) -> None:
    name = prefix + star + suffix
    assert Wildcard(prefix, suffix).match(name) == star
    assert fill_in(f"{prefix}*{suffix}", star) == name


@pytest.mark.parametrize(
    "name", ["", "x" * 201, "a\nb", "a\0", " a", "a ", "gpt-*", "\ud83d", "org/../b", "..", "./a", "a/."]
)
def test_what_goes_no_further(name: str) -> None:
    assert not may_match(name)


@pytest.mark.parametrize("name", ["gpt-4.1", "org/model:free", "a..b", "...", "org//x", "名前"])
def test_what_may_be_matched(name: str) -> None:
    assert may_match(name)
