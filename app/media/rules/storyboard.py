"""Prompts that are storyboards: blocks of shots, each with a length, that together are the length of the video."""

from __future__ import annotations

import re
from decimal import Decimal

from app.errors import GatewayError, invalid_request

_SHOT = re.compile(r"shot +([0-9]{1,4}) *:", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"duration *: *([0-9]{1,4}(?:\.[0-9]{1,3})?) *(?:s|secs?|seconds?)?", re.IGNORECASE | re.ASCII)
_SCENE = re.compile(r"scene *: *(.*)", re.IGNORECASE | re.DOTALL)
_NAMED = re.compile(r"(?:duration|scene) *:", re.IGNORECASE)


def storyboard_seconds(prompt: str) -> Decimal | None:
    """What the shots of a storyboard add up to; None for a prompt that isn't one.

    A storyboard is blocks with a blank line between them (contract, Sora 2):

        Shot 1:
        duration: 7.5sec
        Scene: a cat on a roof

    Only a prompt that begins as one is taken for one: `Shot 1:` alone on the first line, and a `duration:` or `Scene:`
    below it before the first blank line. Raises GatewayError 400 naming `prompt`, with the shot that is at fault.
    """
    blocks = _split(prompt)
    if not blocks or not _begins_one(blocks[0]):
        return None
    return sum((_read_shot(block, number) for number, block in enumerate(blocks, 1)), Decimal(0))


def _split(prompt: str) -> list[list[str]]:
    """The lines of each block, without blanks at either end."""
    blocks: list[list[str]] = [[]]
    for line in prompt.splitlines():
        if text := line.strip():
            blocks[-1].append(text)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _begins_one(block: list[str]) -> bool:
    return _SHOT.fullmatch(block[0]) is not None and any(_NAMED.match(line) for line in block[1:])


def _read_shot(block: list[str], number: int) -> Decimal:
    header = _SHOT.fullmatch(block[0])
    if header is None:
        raise _malformed(number, f"its block must begin with a line `Shot {number}:`")
    if int(header[1]) != number:
        raise _malformed(number, f"it is called Shot {int(header[1])}; shots are numbered 1, 2, 3, … in order")
    duration = _DURATION.fullmatch(block[1]) if len(block) > 1 else None
    if duration is None:
        raise _malformed(number, "its second line must say how long it is, such as `duration: 7.5sec`")
    seconds = Decimal(duration[1])
    if not seconds:
        raise _malformed(number, "its duration must be above zero")
    scene = _SCENE.fullmatch("\n".join(block[2:]))
    if scene is None or not scene[1].strip():
        raise _malformed(number, "its third line must say what is seen, such as `Scene: a cat on a roof`")
    return seconds


def _malformed(number: int, why: str) -> GatewayError:
    return invalid_request(f"prompt: Shot {number} of the storyboard is malformed: {why}.", "prompt")
