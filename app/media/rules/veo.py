"""Rules of Veo, by the client's name of the model: aspect ratio, and how many pictures go in."""

from __future__ import annotations

import re

from app.core.media import Job
from app.errors import invalid_request

VEO = re.compile(r"veo(2|3|3\.1)(-[a-z0-9.-]+)?", re.ASCII)
"""`veo2`, `veo3-fast-frames`, `veo3.1-pro`, … and names that an operator makes in the same way."""

RATIOS = ("16:9", "9:16")
"""Contract, Veo."""


def check_veo(job: Job) -> None:
    """Raises GatewayError 400 naming `aspect_ratio` or `images`."""
    if job.aspect_ratio not in (None, *RATIOS):
        raise invalid_request(f"aspect_ratio: must be {' or '.join(RATIOS)}.", "aspect_ratio")
    fewest, most, meaning = _pictures(job.model)
    if not fewest <= len(job.images) <= most:
        many = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise invalid_request(f"images: {job.model} takes {many} of them ({meaning}), not {len(job.images)}.", "images")


def _pictures(model: str) -> tuple[int, int, str]:
    """Fewest and most pictures, and what they are.

    The contract says what `-frames`, `-components` and `veo3.1*` take, and of any model that pictures make it
    image-to-video: so the others take the one that a video can begin with. Three at most are Veo's own bounds for
    reference images (Google's Veo documentation).
    """
    if "-frames" in model:
        return 1, 2, "the first frame, and the last"
    if "-components" in model:
        return 1, 3, "reference images"
    if model.startswith("veo3.1"):
        return 0, 3, "the first frame, first and last, or reference images"
    return 0, 1, "the first frame"
