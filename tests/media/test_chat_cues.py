"""Suffixes of a model's name and cues at a prompt's start: what is a wish, what is prose, and what contradicts itself."""

from __future__ import annotations

import itertools

import pytest

from app.errors import GatewayError
from app.media.chat.cues import FAMILY, Wishes, is_of_family, read_cues, read_suffixes

PORTRAIT = Wishes(aspect_ratio="9:16")
LANDSCAPE = Wishes(aspect_ratio="16:9")
HD = Wishes(hd=True)
LONG = Wishes(seconds=15)
ALL = Wishes("9:16", True, 15)

CUES = [
    # The contract's cues, each alone.
    ("竖屏，一只猫", PORTRAIT, "一只猫"),
    ("横屏，一只猫", LANDSCAPE, "一只猫"),
    ("高清，一只猫", HD, "一只猫"),
    ("15s，一只猫", LONG, "一只猫"),
    ("portrait, a cat", PORTRAIT, "a cat"),
    ("landscape, a cat", LANDSCAPE, "a cat"),
    ("hd, a cat", HD, "a cat"),
    ("15s, a cat", LONG, "a cat"),
    # Several, in any order, by any separator.
    ("竖屏，高清，15s，一只猫", ALL, "一只猫"),
    ("15s,hd,portrait,a cat", ALL, "a cat"),
    ("竖屏、15s、高清：一只猫", ALL, "一只猫"),
    ("竖屏 高清 15s 一只猫", ALL, "一只猫"),
    ("竖屏15s高清，一只猫", ALL, "一只猫"),
    ("hd 15s portrait, a cat", ALL, "a cat"),
    ("横屏 hd 一只猫", Wishes("16:9", True), "一只猫"),
    ("竖屏，竖屏，一只猫", PORTRAIT, "一只猫"),
    # In brackets, of every sort.
    ("（竖屏，15s，高清）一只猫", ALL, "一只猫"),
    ("(portrait, hd, 15s) a cat", ALL, "a cat"),
    ("[竖屏 高清 15s] 一只猫", ALL, "一只猫"),
    ("【竖屏】【高清】【15s】一只猫", ALL, "一只猫"),
    ("「竖屏、高清、15s」，一只猫", ALL, "一只猫"),
    ("（竖屏)一只猫", PORTRAIT, "一只猫"),
    ("(hd) 15s, [portrait] a cat", ALL, "a cat"),
    ("竖屏(hd)一只猫", Wishes("9:16", True), "一只猫"),
    ("(portrait) of a king", PORTRAIT, "of a king"),
    # However it is written.
    ("  Portrait : a cat \n", PORTRAIT, "a cat"),
    ("HD\na cat", HD, "a cat"),
    ("15S; a cat", LONG, "a cat"),
    ("横屏\n\n一只猫", LANDSCAPE, "一只猫"),
    ("竖屏。一只猫，横屏拍摄", PORTRAIT, "一只猫，横屏拍摄"),
    ("15s 一只猫", LONG, "一只猫"),
    # Nothing but cues.
    ("竖屏", PORTRAIT, ""),
    ("(hd)", HD, ""),
]

PROSE = [
    "portrait of a king",
    "Portrait of a king, in oil",
    "landscape painting, oil on canvas",
    "hd",
    "portrait",
    "portrait hd of a king",
    "portraits, of kings",
    "hdr photo, a cat",
    "15s of rain",
    "15stories, a tower",
    "(portrait of a king) in oil",
    "[hd, a cat]",
    "hd (a cat)",
    "()",
    "横屏的手机放在桌上",
    "竖屏一只猫",
    "高清画质的城市",
    "竖屏高清的猫",
    "（一只猫，竖屏）",
    "a cat, portrait, hd, 15s",
    "一只猫，竖屏",
    "10s，一只猫",
    "",
]


@pytest.mark.parametrize(("prompt", "wishes", "rest"), CUES)
def test_cues_are_heeded_and_taken_out(prompt: str, wishes: Wishes, rest: str) -> None:
    assert read_cues(prompt, "messages") == (wishes, rest)


@pytest.mark.parametrize("prompt", PROSE)
def test_prose_is_left_alone(prompt: str) -> None:
    assert read_cues(prompt, "messages") == (Wishes(), prompt)


@pytest.mark.parametrize(
    ("prompt", "wishes", "rest"),
    [
        ("竖屏 portrait of a king", PORTRAIT, "portrait of a king"),
        ("(hd) landscape painting, oil", HD, "landscape painting, oil"),
        ("竖屏，hd of a king", PORTRAIT, "hd of a king"),
    ],
)
def test_prose_begins_where_the_cues_end(prompt: str, wishes: Wishes, rest: str) -> None:
    assert read_cues(prompt, "messages") == (wishes, rest)


@pytest.mark.parametrize("prompt", ["竖屏，横屏，一只猫", "(portrait, landscape) a cat", "【横屏】portrait, a cat"])
def test_contradicting_cues_are_refused(prompt: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        read_cues(prompt, "messages[0].content")
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_value")
    assert refusal.value.param == "messages[0].content"


def test_every_order_of_suffixes() -> None:
    wishes = {"portrait": PORTRAIT, "hd": HD, "15s": LONG}
    for count in range(4):
        for suffixes in itertools.permutations(wishes, count):
            expected = Wishes()
            for suffix in suffixes:
                expected = wishes[suffix].over(expected)
            assert read_suffixes("-".join((FAMILY, *suffixes))) == expected
    assert read_suffixes(f"{FAMILY}-landscape") == LANDSCAPE


@pytest.mark.parametrize("name", ["sora-2", "sora_video2x", "sora_video2-", "sora_video2-4k", "sora_video2-HD", "x-hd"])
def test_other_names_have_no_suffixes(name: str) -> None:
    assert not is_of_family(name)
    assert read_suffixes(name) is None


def test_contradicting_suffixes_are_refused() -> None:
    with pytest.raises(GatewayError) as refusal:
        read_suffixes(f"{FAMILY}-portrait-hd-landscape")
    assert (refusal.value.status, refusal.value.param) == (400, "model")


def test_a_prompt_of_cues_alone_is_read_in_bounds() -> None:
    wishes, rest = read_cues("竖屏 " * 50_000, "messages")
    assert wishes == PORTRAIT
    assert rest.startswith("竖屏 竖屏")
