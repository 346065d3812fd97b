"""What a client wishes of a video, said by suffixes of the model's name and by cues at the start of the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from types import MappingProxyType

from app.errors import invalid_request

FAMILY = "sora_video2"
"""The model whose name takes suffixes."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """None: nothing was said about it. `seconds`: the video's length."""

    aspect_ratio: str | None = None
    hd: bool | None = None
    seconds: float | None = None

    def over(self, other: Wishes) -> Wishes:
        """These, and for the rest the other's."""
        mine = (getattr(self, field.name) for field in fields(self))
        theirs = (getattr(other, field.name) for field in fields(self))
        return Wishes(*(b if a is None else a for a, b in zip(mine, theirs, strict=True)))


_PORTRAIT = Wishes(aspect_ratio="9:16")
_LANDSCAPE = Wishes(aspect_ratio="16:9")
_HD = Wishes(hd=True)
_LONG = Wishes(seconds=15.0)

_SUFFIXES = MappingProxyType({"portrait": _PORTRAIT, "landscape": _LANDSCAPE, "hd": _HD, "15s": _LONG})
_CUES = MappingProxyType({**_SUFFIXES, "竖屏": _PORTRAIT, "横屏": _LANDSCAPE, "高清": _HD})

_NAME = re.compile(rf"{FAMILY}((?:-(?:{'|'.join(_SUFFIXES)}))*)")

_CUE = re.compile("|".join(_CUES), re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,，、;；|/]+")
"""What stands between cues inside brackets."""

_GROUP = re.compile(r"[（(]([^（()）]{1,80})[）)]|[【\[]([^【\[\]】]{1,80})[】\]]|「([^「」]{1,80})」")
"""Brackets; the halves of a pair may come from two keyboards."""

MOST_CUES = 32
"""After so many the prompt is taken to have begun."""

_BLANK = re.compile(r"\s*")
_STOP = re.compile(r"[^\S\n]*[,，、:：;；。\n]")
"""What ends a cue outside brackets, in any language."""

_AFTER = re.compile(r"[\s,，、:：;；。]*")

_SPACED = re.compile(r"\s+\S|\s*\Z")
_SPACED_AND_NO_LATIN = re.compile(r"\s+[^\sA-Za-z]")


def is_of_family(model: str) -> bool:
    """Whether it is the family's name, with suffixes or without."""
    return _NAME.fullmatch(model) is not None


def read_suffixes(model: str) -> Wishes | None:
    """The wishes in a name of the family, suffixes in any order; None: it isn't one.

    Raises GatewayError 400 for suffixes that contradict one another.
    """
    match = _NAME.fullmatch(model)
    if match is None:
        return None
    return _merge([_SUFFIXES[word] for word in match[1].split("-") if word], "model")


def read_cues(prompt: str, param: str) -> tuple[Wishes, str]:
    """The wishes at the start of a prompt, and the prompt without them.

    In brackets, whatever holds nothing but cues counts. Outside, a cue has to be set apart from the prose that it might
    begin ("portrait of a king"): by a comma, a colon, a semicolon, a full-width stop, a line break, or another cue that is;
    a Chinese one also by a space or the prompt's end; `15s`, and an English one after another cue, also by a space unless
    Latin letters follow ("15s of rain").
    Raises GatewayError 400, naming `param`, for cues that contradict one another.
    """
    found: list[Wishes] = []  # those that are sure
    at = _end(_BLANK, prompt, 0)
    pending: list[Wishes] = []  # those that are cues if what follows is
    cursor = at
    while len(found) + len(pending) < MOST_CUES:
        if (group := _read_group(prompt, cursor)) is not None:
            wishes, cursor = group
            found += [*pending, *wishes]
        elif (match := _CUE.match(prompt, cursor)) is not None:
            pending.append(_CUES[match[0].lower()])
            if not _is_set_apart(prompt, match, bool(found)):
                cursor = _end(_BLANK, prompt, match.end())
                continue  # a cue only if one follows that is set apart
            found += pending
            cursor = match.end()
        else:
            break
        pending = []
        at = cursor = _end(_AFTER, prompt, cursor)
    return _merge(found, param), prompt[at:].rstrip() if found else prompt.strip()


def _read_group(prompt: str, at: int) -> tuple[list[Wishes], int] | None:
    """The wishes in brackets, and where they end; None: no brackets, or prose in them."""
    match = _GROUP.match(prompt, at)
    if match is None:
        return None
    words = [word.lower() for word in _BETWEEN.split(match[match.lastindex or 0]) if word]
    if not words or not all(word in _CUES for word in words):
        return None
    return [_CUES[word] for word in words], match.end()


def _is_set_apart(prompt: str, match: re.Match[str], after_another: bool) -> bool:
    if _STOP.match(prompt, match.end()):
        return True
    if not match[0].isascii():
        return _SPACED.match(prompt, match.end()) is not None
    lone = after_another or match[0][0].isdigit()
    return lone and _SPACED_AND_NO_LATIN.match(prompt, match.end()) is not None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _merge(said: list[Wishes], param: str) -> Wishes:
    merged = Wishes()
    for wishes in said:
        if wishes.over(merged) != merged.over(wishes):
            raise invalid_request("Portrait and landscape are both asked for; name one.", param, "invalid_value")
        merged = merged.over(wishes)
    return merged
