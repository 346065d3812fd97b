"""Jobs of every kind that the contract lets through: what an adapter may be handed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from app.core.media import Job, Scope
from app.errors import GatewayError
from app.providers.media import Media
from tests.providers.media_fixtures import MODEL, PNG, PNG_LINK, VIDEO_LINK

MODELS = ("client-model", "sora-2", "veo3", "veo3.1", "veo3-pro-frames", "veo2-fast-components")
OWN = ("watermark", "private", "enhance_prompt", "enable_upsample", "generate_audio")

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "seconds": st.sampled_from([1.0, 2.0, 4.0, 5.0, 7.5, 8.0, 12.0, 15.0, 25.0]),
    "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1", "21:9", "auto"]),
    "size": st.sampled_from(["1280x720", "720x1280", "1920x1080", "1024x1792", "1000x1000"]),
    "resolution": st.sampled_from(["480p", "720p", "1080p", "2k", "4k"]),
    "hd": st.just(True),
    "count": st.just(2),
    "images": st.lists(st.sampled_from([PNG, PNG_LINK]), min_size=1, max_size=4).map(tuple),
    "videos": st.sampled_from([(VIDEO_LINK,), (VIDEO_LINK, VIDEO_LINK)]),
    "extra": st.dictionaries(st.sampled_from(OWN), st.booleans(), min_size=1, max_size=3),
}


def jobs(scope: Scope) -> st.SearchStrategy[Job]:
    """Up to four of the fields, in any combination: were there more, nearly every job would be refused."""
    field = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name]))
    return st.builds(
        lambda model, prompt, fields: Job(scope, model, prompt, **dict(fields)),
        st.sampled_from(MODELS),
        st.text(min_size=1, max_size=20),
        st.lists(field, max_size=4),
    )


def refusal(media: Media, job: Job) -> GatewayError | None:
    """Why the adapter can't do it, or None."""
    try:
        media.check(job, MODEL)
    except GatewayError as error:
        return error
    return None
