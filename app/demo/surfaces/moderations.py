"""OpenAI's `POST /v1/moderations` (openai-python 3.54.0, `types/moderation*.py`): what says "violence" is flagged."""

from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal, write_fault
from app.demo.routes import Route
from app.demo.shapes import Anything, Either, ListOf, Record, Tagged, Text
from app.demo.surfaces.intake import Intake, below_bases, fit, refusing

DEFAULT_MODEL = "omni-moderation-latest"
FLAGGED = "violence"
TEXT_ONLY = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "sexual/minors",
)
WITH_IMAGES = (
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "violence",
    "violence/graphic",
)
HIGH, LOW = 0.98, 0.0001
SHAPE = Record(needs={"input": Anything()}, may={"model": Text()}, nulls=True, open=True)
PART = Tagged(
    "type",
    {
        "text": Record(needs={"type": Text(), "text": Text()}),
        "image_url": Record(needs={"type": Text(), "image_url": Record(needs={"url": Text()}, open=True)}),
    },
)
INPUTS = Record(needs={"input": Either(Text(), ListOf(Text()))})
PARTS = Record(needs={"input": ListOf(PART)})


class Moderations:
    """Tells of each input whether it is flagged."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases([("POST", "/moderations", self.create)])

    @refusing
    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/moderations`."""
        asked = await self._intake.read(exchange, SHAPE, DEFAULT_MODEL)
        body = orjson.dumps(
            {
                "id": f"modr-demo-{exchange.entry.id:08d}",
                "model": asked.model,
                "results": [_judge(text, kinds) for text, kinds in _read_inputs(asked.fields["input"])],
            }
        )
        await answer(exchange, Answering(asked.options, asked.credential, None, lambda _: body, write_fault))


def _read_inputs(value: Any) -> list[tuple[str, list[str]]]:
    """The text of each input, and what kinds of things it has."""
    if value == []:
        raise Refusal(400, "Invalid 'input': empty array.", code="empty_array", param="input")
    if isinstance(value, list) and isinstance(value[0], dict):
        parts = fit({"input": value}, PARTS)["input"]
        kinds = {"text" if part["type"] == "text" else "image" for part in parts}
        return [(" ".join(part.get("text", "") for part in parts), sorted(kinds, reverse=True))]
    texts = fit({"input": value}, INPUTS)["input"]
    return [(text, ["text"]) for text in ([texts] if isinstance(texts, str) else texts)]


def _judge(text: str, kinds: list[str]) -> dict[str, Any]:
    flagged = FLAGGED in text.lower()
    names = sorted((*TEXT_ONLY, *WITH_IMAGES))
    shown = {name: kinds if name in WITH_IMAGES else [kind for kind in kinds if kind == "text"] for name in names}
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == FLAGGED for name in names},
        "category_scores": {name: HIGH if flagged and name == FLAGGED else LOW for name in names},
        "category_applied_input_types": shown,
    }
