"""Makes small real media in pure Python, the same for the same prompt."""

from app.demo.media.makers.mp3 import make_mp3
from app.demo.media.makers.mp4 import make_mp4
from app.demo.media.makers.png import make_png
from app.demo.media.makers.wav import make_pcm, make_wav

__all__ = ["make_mp3", "make_mp4", "make_pcm", "make_png", "make_wav"]
