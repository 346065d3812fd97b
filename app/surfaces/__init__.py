"""The surfaces beside chat, one module or folder each: no routes, no money, no database."""

from __future__ import annotations

from app.surfaces.base import Surface
from app.surfaces.completions import Completions
from app.surfaces.embeddings import Embeddings
from app.surfaces.images import ImageEdits, ImageGenerations, ImageVariations
from app.surfaces.moderations import Moderations
from app.surfaces.rerank import Rerank
from app.surfaces.speech import Speech
from app.surfaces.transcriptions import Transcriptions, Translations

SURFACES: tuple[Surface, ...] = (
    Completions(),
    Embeddings(),
    Moderations(),
    Rerank(),
    ImageGenerations(),
    ImageEdits(),
    ImageVariations(),
    Speech(),
    Transcriptions(),
    Translations(),
)
"""All of them."""
