"""OpenAI's `POST /v1/embeddings` (openai-python 3.54.0, `types/embedding_create_params.py`)."""

from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal, write_fault
from app.demo.routes import Route
from app.demo.saying import spoil
from app.demo.shapes import Anything, Number, Record, Text
from app.demo.surfaces.inputs import read_inputs
from app.demo.surfaces.intake import Intake, below_bases, refusing
from app.demo.surfaces.vectors import MOST_DIMENSIONS, embed, to_base64

DEFAULT_DIMENSIONS = 1_536
SHAPE = Record(
    needs={"input": Anything(), "model": Text()},
    may={"dimensions": Number(1, MOST_DIMENSIONS), "encoding_format": Text(("float", "base64"))},
    nulls=True,
    open=True,
)


class Embeddings:
    """Answers with a vector for each input."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases([("POST", "/embeddings", self.create)])

    @refusing
    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/embeddings`."""
        asked = await self._intake.read(exchange, SHAPE)
        fields = asked.fields
        inputs = read_inputs(self._intake.writer, fields["input"], "input")
        for index, each in enumerate(inputs):
            if not each.text:
                raise Refusal(400, f"Invalid 'input[{index}]': empty.", code="invalid_value", param="input")
        dimensions = fields.get("dimensions", DEFAULT_DIMENSIONS)
        packed = fields.get("encoding_format") == "base64"
        vectors = [embed(each.text, dimensions) for each in inputs]
        count = sum(each.tokens for each in inputs)
        usage = spoil(asked.options, {"prompt_tokens": count, "total_tokens": count})
        body: dict[str, Any] = {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": to_base64(vector) if packed else vector.tolist(),
                }
                for index, vector in enumerate(vectors)
            ],
            "model": asked.model,
            **({} if usage is None else {"usage": usage}),
        }
        whole = orjson.dumps(body)
        await answer(exchange, Answering(asked.options, asked.credential, None, lambda _: whole, write_fault))
