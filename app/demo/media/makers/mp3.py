"""Makes MP3 audio: silence, which takes no psychoacoustics (ISO/IEC 13818-3, MPEG-2 layer III, one channel, 24 kHz)."""

import math

# Sync, MPEG-2, layer III, no checksum; 8 kbit/s at 24 kHz, no padding; one channel, original.
HEADER = b"\xff\xf3\x14\xc4"
# At that rate a frame has 72 * 8000 / 24000 bytes: header, nine of side information that promise nothing, and nothing.
FRAME = HEADER + bytes(20)
# 576 samples.
FRAME_SECONDS = 0.024


def make_mp3(prompt: str, seconds: float) -> bytes:
    """Silence of that length, rounded up to frames of 24 ms; the same for every prompt."""
    return FRAME * max(1, math.ceil(seconds / FRAME_SECONDS))
