"""fal: hundreds of models of images, videos and audio behind one queue; a model's id is its path."""

from __future__ import annotations

from app.providers.base import NO_PATHS, Provider
from app.providers.fal.media import FalMedia

PROVIDERS = (Provider("fal", "https://queue.fal.run", NO_PATHS, auth_prefix="Key ", media=FalMedia()),)
