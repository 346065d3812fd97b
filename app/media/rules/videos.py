"""A body of OpenAI's videos API read into a job: its own lengths, sizes and reference picture.

Source: openai-python, `types/video_create_params.py`, `video_seconds.py`, `video_size.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.core.media import Attachment, Job, Scope
from app.errors import invalid_request
from app.media.inputs import read_image
from app.media.rules.fields import Fields
from app.media.rules.generation import FLAGS, MAX_PROMPT, Submission, read_submission
from app.media.rules.sora import SORA, check_picture, fit_storyboard, name_all
from app.media.rules.veo import VEO, check_veo

DEFAULT_MODEL = "sora-2"
SECONDS = (4, 8, 12)
SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")
"""What OpenAI's models make; names of other models may ask for any length and size that their upstreams take."""


def read_video(body: Mapping[str, Any], reference: Attachment | None = None) -> Submission:
    """The job that a body of `POST /v1/videos` describes; `reference`: the picture that came as a file.

    Bracketed form fields have become objects already. The rules of the unified API's other fields hold here too. What the
    client left out stays out: the upstream decides. Raises GatewayError 400 naming the field.
    """
    fields = Fields({"model": DEFAULT_MODEL, **{name: value for name, value in body.items() if value is not None}})
    for name, hint in (("duration", "seconds"), ("images", "input_reference")):
        if name in fields:
            raise invalid_request(f"{name}: isn't a field of this API; use `{hint}`.", name)
    if reference is None:
        reference = _read_reference(fields.take("input_reference"))
    submission = read_submission(Scope.VIDEOS, fields)
    job = replace(submission.job, images=() if reference is None else (reference,))
    if job.count != 1:
        raise invalid_request("n: this API makes one video a call.", "n")
    return replace(submission, job=_apply_family(job))


def read_remix(body: Mapping[str, Any]) -> str:
    """The prompt of `POST /v1/videos/{id}/remix`, which takes nothing else. Raises GatewayError 400."""
    fields = Fields(body)
    prompt = fields.needed("prompt", MAX_PROMPT)
    unknown = next(iter(fields.rest()), None)
    if unknown is not None:
        raise invalid_request(f"{unknown}: a remix takes a prompt only.", unknown)
    return prompt


def _apply_family(job: Job) -> Job:
    if SORA.fullmatch(job.model):
        check_picture(job)
        job = fit_storyboard(job, SECONDS, "seconds")
        if job.seconds is not None and job.seconds not in SECONDS:
            raise invalid_request(f"seconds: must be {name_all(SECONDS)}.", "seconds")
        if job.size is not None and job.size not in SIZES:
            raise invalid_request(f"size: must be {', '.join(SIZES[:-1])} or {SIZES[-1]}.", "size")
    elif VEO.fullmatch(job.model):
        check_veo(job)
    return job


def _read_reference(value: Any) -> Attachment | None:
    """`{"image_url": …}`, or the URL or data URI itself."""
    if value is None:
        return None
    if isinstance(value, str):
        return read_image(value, "input_reference")
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise invalid_request("input_reference: must be a file, or an object with `image_url`.", "input_reference")
    if "file_id" in value:
        message = "input_reference[file_id]: there are no uploaded files here; send the picture, or its `image_url`."
        raise invalid_request(message, "input_reference[file_id]")
    if set(value) != {"image_url"}:
        raise invalid_request("input_reference: must hold `image_url`, and nothing else.", "input_reference")
    return read_image(value["image_url"], "input_reference[image_url]")


def type_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A form's fields, which are texts, as JSON would have them: those that are known to be flags or counts."""
    typed = dict(fields)
    for name in (*FLAGS, "hd"):
        if typed.get(name) in ("true", "false"):
            typed[name] = typed[name] == "true"
    for name in ("n", "count"):
        if typed.get(name) == "1":
            typed[name] = 1
    return typed
