"""How large a picture is, from the words that vendors take for it."""

import re

from app.demo.media.studio import Scope

SIZE = re.compile(r"(\d{1,5})[x*](\d{1,5})")
RATIO = re.compile(r"([1-9]\d{0,2}):([1-9]\d{0,2})")
# Small where nobody asks for more, so that trying things out costs nothing.
DEFAULT_FRAMES: dict[Scope, tuple[int, int]] = {"images": (512, 512), "videos": (320, 180), "audio": (0, 0)}
HEIGHTS = {"360p": 360, "480p": 480, "720p": 720, "1080p": 1080, "4k": 2160}
MAX_SIDE = 4_096


def frame(
    scope: Scope, *, size: object = None, aspect_ratio: object = None, resolution: object = None
) -> tuple[int, int]:
    """Width and height in pixels of what was asked for: `size` is `WIDTHxHEIGHT`, else the shorter side comes from
    `resolution` (`720p`) and the shape from `aspect_ratio` (`9:16`). What can't be read counts as not said.
    """
    if isinstance(size, str) and (match := SIZE.fullmatch(size)):
        return _bound(int(match[1]), int(match[2]))
    width, height = DEFAULT_FRAMES[scope]
    side = HEIGHTS.get(str(resolution).lower(), min(width, height))
    if isinstance(aspect_ratio, str) and (match := RATIO.fullmatch(aspect_ratio)):
        across, down = int(match[1]), int(match[2])
    else:
        across, down = (1, 1) if scope == "images" else (16, 9)
    shorter = min(across, down)
    return _bound(side * across // shorter, side * down // shorter)


def _bound(width: int, height: int) -> tuple[int, int]:
    return min(max(width, 16), MAX_SIDE), min(max(height, 16), MAX_SIDE)
