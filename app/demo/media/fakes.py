"""The media APIs that the demo speaks; a new one is added here."""

from app.demo.media.ark import Ark
from app.demo.media.fal import Fal
from app.demo.media.google import Gemini
from app.demo.media.google_vertex import Vertex
from app.demo.media.openai_images import OpenAIImages
from app.demo.media.openai_speech import OpenAISpeech
from app.demo.media.openai_videos import OpenAIVideos
from app.demo.media.unified import Unified
from app.demo.media.xai import Xai

FAKES = (Unified, OpenAIVideos, OpenAIImages, OpenAISpeech, Gemini, Vertex, Xai, Ark, Fal)
