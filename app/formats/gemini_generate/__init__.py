"""Google's generateContent format, as its clients and upstreams speak it, in both framings of streams."""

from app.formats.gemini_generate.format import FORMAT, GeminiGenerate

__all__ = ["FORMAT", "GeminiGenerate"]
