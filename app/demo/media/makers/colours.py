"""Colours from a prompt: a ring of them, each passing softly into the next."""

import colorsys
import hashlib
import math

STOPS = 3

Colour = tuple[int, int, int]


def digest(prompt: str) -> bytes:
    """32 bytes that are the prompt's own."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()


def ring(prompt: str, length: int) -> list[Colour]:
    """So many RGB colours, the last of which leads back to the first."""
    seed = digest(prompt)
    # Hues a third to a half of a turn apart, none too dark or too pale.
    hue = seed[0] / 256
    stops = []
    for index in range(STOPS):
        stops.append(colorsys.hls_to_rgb(hue % 1, 0.45 + seed[index + 1] / 1024, 0.55 + seed[index + 4] / 1024))
        hue += 0.33 + seed[index + 7] / 1536
    colours = []
    for index in range(length):
        at, into = divmod(index * STOPS / length, 1)
        weight = (1 - math.cos(math.pi * into)) / 2
        pair = zip(stops[int(at)], stops[(int(at) + 1) % STOPS], strict=True)
        red, green, blue = (round(255 * (a + (b - a) * weight)) for a, b in pair)
        colours.append((red, green, blue))
    return colours
