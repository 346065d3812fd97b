"""Makes WAV audio: a short soft melody, PCM, 16 bits, one channel."""

import array
import io
import math
import sys
import wave

from app.demo.media.makers.colours import digest

RATE = 24_000
"""Samples a second: what OpenAI's speech has (https://platform.openai.com/docs/guides/text-to-speech, `pcm`)."""
BEAT = RATE // 4
LOUDNESS = 6_000
# A pentatonic scale on A, in half tones: any order of its notes sounds well.
SCALE = (0, 3, 5, 7, 10, 12)
BASE_HERTZ = 220.0


def make_pcm(prompt: str, seconds: float) -> bytes:
    """The samples alone, 16 bits, little-endian."""
    wanted = max(1, round(seconds * RATE))
    notes = {step: _play(BASE_HERTZ * 2 ** (step / 12)) for step in SCALE}
    tune = [notes[SCALE[byte % len(SCALE)]] for byte in digest(prompt)[:16]]
    beats = -(-wanted // BEAT)
    return b"".join(tune[beat % len(tune)] for beat in range(beats))[: 2 * wanted]


def make_wav(prompt: str, seconds: float) -> bytes:
    """A WAV file of that length, to the sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(make_pcm(prompt, seconds))
    return file.getvalue()


def _play(hertz: float) -> bytes:
    step = 2 * math.pi * hertz / RATE
    samples = array.array("h", bytes(2 * BEAT))
    for index in range(BEAT):
        # Swells and fades, so that no note clicks.
        swell = math.sin(math.pi * index / BEAT)
        samples[index] = int(LOUDNESS * swell * (math.sin(step * index) + 0.3 * math.sin(2 * step * index)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
