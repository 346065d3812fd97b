"""Writes H.264: flat tiles of 16 by 16 pixels that change colour, and frames that repeat the one before (ITU-T H.264).

Constrained baseline, CAVLC. A key frame codes each macroblock as Intra16x16 with nothing but its mean (the DC level); the
frames between skip every macroblock. The quantiser is chosen so that a level is one step of luma and two of chroma.
"""

import re
from dataclasses import dataclass

from app.demo.media.makers.colours import Colour, ring

TILE = 16
SPS, PPS, IDR, NON_IDR = 0x67, 0x68, 0x65, 0x61
BASELINE = 66
CONSTRAINED = 0b1110_0000
LEVEL, MAX_TILES = 40, 8_192  # level 4.0 is good for 1080p (table A-1)
LARGE_LEVEL = 52
QP = 28
FRAME_NUM_BITS = 4
# intra prediction (tables 8-4 and 8-5): luma and chroma number the same directions differently
VERTICAL, HORIZONTAL, MEAN = (0, 2), (1, 1), (2, 0)
GREY = (128, 64, 64)
RING = 256
CONFUSABLE = re.compile(rb"\x00\x00(?=[\x00-\x03])")

Step = tuple[int, int, int]
"""Luma in steps of 1, blue and red difference in steps of 2."""


def ue(value: int) -> str:
    """An unsigned Exp-Golomb code, as bits (clause 9.1)."""
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def se(value: int) -> str:
    """A signed Exp-Golomb code, as bits."""
    return ue(2 * value - 1 if value > 0 else -2 * value)


@dataclass(frozen=True, slots=True)
class Film:
    """Writes the frames of one film; `width` and `height` in pixels, rounded down to even ones."""

    width: int
    height: int
    colours: tuple[Step, ...]
    slope: tuple[int, int]

    @property
    def across(self) -> int:
        return -(-self.width // TILE)

    @property
    def down(self) -> int:
        return -(-self.height // TILE)

    def sps(self) -> bytes:
        """The sequence parameter set, without start code or length (clause 7.3.2.1.1)."""
        level = LEVEL if self.across * self.down <= MAX_TILES else LARGE_LEVEL
        bits = [f"{BASELINE:08b}{CONSTRAINED:08b}{level:08b}", ue(0), ue(FRAME_NUM_BITS - 4)]
        bits += [ue(2), ue(1), "0"]  # output in coding order; one reference; no gaps
        bits += [ue(self.across - 1), ue(self.down - 1), "1", "1"]  # frames only; direct 8x8
        right, bottom = self.across * TILE - self.width, self.down * TILE - self.height
        bits += ["1", ue(0), ue(right // 2), ue(0), ue(bottom // 2)] if right or bottom else ["0"]
        return _nal(SPS, "".join(bits) + "0")

    def pps(self) -> bytes:
        """The picture parameter set (clause 7.3.2.2)."""
        bits = [ue(0), ue(0), "0", "0", ue(0), ue(0), ue(0), "0", "00", se(QP - 26), se(0), se(0), "0", "0", "0"]
        return _nal(PPS, "".join(bits))

    def key_frame(self, number: int, phase: int) -> bytes:
        """A frame of its own; `number` counts key frames, `phase` moves the colours on around the ring."""
        head = [ue(0), ue(7), ue(0), "0" * FRAME_NUM_BITS, ue(number % 2), "0", "0", se(0)]
        sideways, downwards = self.slope
        step_right, step_down = self._steps(sideways, HORIZONTAL), self._steps(downwards, VERTICAL)
        rows = []
        for y in range(self.down):
            first = (phase + y * downwards) % RING
            lead = step_down[first] if y else _tile(GREY, self.colours[first], MEAN)
            places = range(first + sideways, first + sideways * self.across, sideways)
            rows.append(lead + "".join([step_right[place % RING] for place in places]))
        return _nal(IDR, "".join(head + rows))

    def still_frame(self, since_key: int) -> bytes:
        """A frame that repeats the one before; `since_key` counts the frames since the key frame."""
        number = f"{since_key % (1 << FRAME_NUM_BITS):0{FRAME_NUM_BITS}b}"
        return _nal(NON_IDR, "".join([ue(0), ue(5), ue(0), number, "0", "0", "0", se(0), ue(self.across * self.down)]))

    def _steps(self, step: int, direction: tuple[int, int]) -> list[str]:
        # Along a row the ring advances by the same step: what is coded depends only on where it arrives.
        return [_tile(self.colours[(at - step) % RING], self.colours[at], direction) for at in range(RING)]


def make_film(prompt: str, width: int, height: int) -> Film:
    """The film of a prompt; both sides are at least 2."""
    colours = tuple(_to_step(colour) for colour in ring(prompt, RING))
    seed = colours[0][0]
    return Film(width - width % 2, height - height % 2, colours, (3 + seed % 4, 2 + seed % 5))


def _to_step(colour: Colour) -> Step:
    # BT.601, studio range, as ITU-T H.273 gives it for what has no colour description.
    red, green, blue = colour
    luma = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    blueness = 128 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255
    redness = 128 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255
    return round(luma), round(blueness / 2), round(redness / 2)


def _tile(before: Step, now: Step, direction: tuple[int, int]) -> str:
    """A macroblock layer: predicted from the tile before, which was flat, so that only the means differ (7.3.5)."""
    luma, blue, red = (after - earlier for after, earlier in zip(now, before, strict=True))
    coloured = bool(blue or red)
    bits = ue((5 if coloured else 1) + direction[0]) + ue(direction[1]) + se(0) + _level(luma, "1", "01", "000101")
    if coloured:
        bits += _level(blue, "01", "1", "000111") + _level(red, "01", "1", "000111")
    return bits


def _level(value: int, none: str, one: str, other: str) -> str:
    """A block whose only coefficient is its first; the three words are its coeff_token (table 9-5)."""
    if value == 0:
        return none
    if abs(value) == 1:
        return one + ("1" if value < 0 else "0") + "1"  # the sign, then total_zeros 0
    code = 2 * value - 4 if value > 0 else -2 * value - 3  # clause 9.2.2.1; a lone level is never 1 here, hence less 2
    if code < 14:
        prefix, suffix = code, ""
    elif code < 30:
        prefix, suffix = 14, f"{code - 14:04b}"
    else:
        prefix, suffix = 15, f"{code - 30:012b}"
    return other + "0" * prefix + "1" + suffix + "1"


def _nal(kind: int, bits: str) -> bytes:
    """A NAL unit: the stop bit and its padding, and no byte pair that could pass for a start code (7.3.1, 7.4.1)."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return bytes([kind]) + CONFUSABLE.sub(b"\0\0\3", payload)
