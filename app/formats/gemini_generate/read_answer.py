"""A whole generateContent answer, read into the canonical one: as a stream of one chunk, which it has the shape of."""

from __future__ import annotations

from app.core.assembly import assemble
from app.core.conversation import Answer
from app.errors import bad_upstream_response
from app.formats.gemini_generate.reader import GenerateReader


def read_answer(body: bytes) -> Answer:
    """Raises UpstreamError for an error in the body, and for what is no answer."""
    reader = GenerateReader()
    events = [*reader.read(body, None), *reader.end()]
    if not events:
        raise bad_upstream_response("The upstream's answer isn't a JSON object.")
    answer = assemble(events)
    if not answer.choices:
        raise bad_upstream_response("The upstream's answer has no candidates.")
    return answer
