"""`/v1/images/generations`, `/edits` and `/variations`: pictures, whole or as they come about.

Sources: openai-python, `types/image_generate_params.py`, `image_edit_params.py`, `images_response.py`,
`image_gen_completed_event.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from app.core.images import MOST
from app.core.usage import Usage, read_name
from app.errors import invalid_request
from app.formats.base import Tap
from app.formats.body import decode_json, is_set, read_boolean, read_count, read_field, read_fields, read_model
from app.formats.openai_media.usage import TRAITS, read_images
from app.providers.openai.images import held_tokens, shown_tokens
from app.surfaces.base import NOTHING, OpenAISurface, SurfaceRequest, both
from app.surfaces.counting import bound_inputs, count_inputs, fair_inputs
from app.surfaces.form import Form
from app.surfaces.openai import OpenAIWire

MAX_COUNT = 10
MAX_IMAGES = 16
MOST_PARTIAL = 300
"""Tokens of the three partial pictures that a streamed one may have (OpenAI's image guide; not verified against bills)."""

FIDELITY = "input_fidelity"
SAID = (*TRAITS, FIDELITY)

_string = msgspec.json.Decoder(str | None)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a request for pictures says: `shown` are those that it starts from, a mask among them."""

    prompt: str
    count: int
    shown: int
    fidelity: str | None
    traits: Mapping[str, str]


class _Images(OpenAISurface):
    """What the three have in common. `needs_prompt`, `needs_image`: what a request must have."""

    kinds = frozenset({"image"})
    needs_prompt = True
    needs_image = False

    def __init__(self) -> None:
        wire = OpenAIWire(read_images, field="data", done=("image_generation.completed", "image_edit.completed"))
        self.wires = MappingProxyType({"openai": wire})

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        fields = read_fields(body)
        model = read_model(fields)
        prompt = read_field(fields, "prompt", _string, "a string")
        shown = _count_images(fields)
        said = {name: read_field(fields, name, _string, "a string") for name in SAID}
        masks = 1 if is_set(fields.get("mask")) else 0
        facts = self._check(prompt, read_count(fields, "n", MAX_COUNT) or 1, shown, masks, said)
        return self._request(model, facts, read_boolean(fields, "stream"), body=body, fields=fields)

    def read_form(self, form: Form, path: str) -> SurfaceRequest:
        model = form.text("model")
        if not model:
            raise invalid_request("You must name a model.", "model", "missing_required_parameter")
        count = form.text("n") or "1"
        if not count.isdecimal() or not 1 <= int(count[:9]) <= MAX_COUNT:
            raise invalid_request(f"'n' must be between 1 and {MAX_COUNT}.", "n", "invalid_value")
        stream = (form.text("stream") or "false").lower()
        if stream not in ("true", "false"):
            raise invalid_request("'stream' must be true or false.", "stream", "invalid_type")
        said = {name: form.text(name) for name in SAID}
        shown, masks = len(form.files("image")), len(form.files("mask"))
        facts = self._check(form.text("prompt"), int(count), shown, masks, said)
        return self._request(model, facts, stream == "true", form=form)

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        facts: ImageFacts = request.facts
        return self._usage(facts, count_inputs([facts.prompt]), shown_tokens(facts.fidelity))

    def _check(
        self, prompt: str | None, count: int, shown: int, masks: int, said: Mapping[str, str | None]
    ) -> ImageFacts:
        if self.needs_prompt and not prompt:
            raise invalid_request("'prompt' is required.", "prompt", "missing_required_parameter")
        if self.needs_image and not shown:
            raise invalid_request("'image' is required.", "image", "missing_required_parameter")
        if shown > MAX_IMAGES:
            raise invalid_request(f"'image' must be {MAX_IMAGES} pictures at most.", "image", "invalid_value")
        traits = {name: value for name in TRAITS if (value := read_name(said[name])) is not None}
        return ImageFacts(prompt or "", count, shown + masks, said[FIDELITY], MappingProxyType(traits))

    def _request(
        self,
        model: str,
        facts: ImageFacts,
        stream: bool,
        *,
        body: bytes = b"",
        fields: Mapping[str, msgspec.Raw] | None = None,
        form: Form | None = None,
    ) -> SurfaceRequest:
        return SurfaceRequest(
            model=model,
            most=self._usage(
                facts,
                bound_inputs([facts.prompt]),
                shown_tokens(facts.fidelity, most=True),
                MOST_PARTIAL if stream else 0,
            ),
            fair=Usage(input_tokens=fair_inputs([facts.prompt]) + MOST * facts.shown),
            told=NOTHING,
            stream=stream,
            body=body,
            fields=fields or {},
            form=form,
            facts=facts,
        )

    def _usage(self, facts: ImageFacts, words: int, each: int, partial: int = 0) -> Usage:
        """`each`: tokens of a picture that is shown; `partial`: of those that a picture is streamed by."""
        shown, made = each * facts.shown, (held_tokens(facts.traits) + partial) * facts.count
        return Usage(
            input_tokens=words + shown,
            input_image_tokens=shown,
            output_tokens=made,
            output_image_tokens=made,
            images=facts.count,
            traits=facts.traits,
        )


class ImageGenerations(_Images):
    """See `app.surfaces.base.Surface`."""

    name = "image_generations"
    title = "OpenAI Images"
    paths = both("/images/generations")


class ImageEdits(_Images):
    """See `app.surfaces.base.Surface`."""

    name = "image_edits"
    title = "OpenAI Image Edits"
    paths = both("/images/edits")
    takes_form = True
    needs_image = True


class ImageVariations(_Images):
    """See `app.surfaces.base.Surface`."""

    name = "image_variations"
    title = "OpenAI Image Variations"
    paths = both("/images/variations")
    takes_json = False
    takes_form = True
    needs_prompt = False
    needs_image = True


def _count_images(fields: dict[str, msgspec.Raw]) -> int:
    """`images` is a list of objects with an address or a file, `image` one data URI or several, as some servers take it."""
    for name in ("images", "image"):
        if is_set(fields.get(name)):
            value = decode_json(fields[name])
            return len(value) if isinstance(value, list) else 1
    return 0
