"""Vectors of a text: always the same ones, of length one, without any meaning."""

import hashlib
import math
import random
from array import array
from base64 import b64encode
from functools import lru_cache
from sys import byteorder

MOST_DIMENSIONS = 3_072


@lru_cache(maxsize=512)
def embed(text: str, dimensions: int) -> "array[float]":
    """A unit vector in single precision; a shorter one has the direction of a longer one's start."""
    source = random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())  # noqa: S311
    values = [source.random() - 0.5 for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return array("f", (value / length for value in values))


def to_base64(vector: "array[float]") -> str:
    """The numbers as little-endian float32, in base64."""
    if byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()
