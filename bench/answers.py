"""Reads HTTP/1.1 answers out of arbitrarily split bytes and judges whether each is whole and as expected."""

import re

import httptools

DONE = b"data: [DONE]\n\n"
TEXT = b'"content":"'
EMPTY_TEXT = b'"content":""'
find_text = re.compile(rb'"content":"[^"]').search


class MalformedAnswer(Exception):
    """Bytes that are no HTTP/1.1 answer, or more than the one answer asked for; the connection is of no more use."""


class AnswerReader:
    """One answer after another on a keep-alive connection: `reset`, then `feed` until it says True.

    The public `on_…` names are what httptools calls; a builtin as `on_body` keeps Python out of the path of each
    chunk. An answer that only the end of the connection would end is never whole.
    """

    __slots__ = ("_answers", "_parser", "_parts", "_whole", "on_body", "stays_open")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        self._parts.clear()
        self._whole = False
        self._answers = 0
        self.stays_open = False  # known once whole

    @property
    def status(self) -> int:
        return self._parser.get_status_code()

    @property
    def body(self) -> bytes:
        """What came of the body so far, without its framing."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; True once the answer is whole. Raises MalformedAnswer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise MalformedAnswer(f"malformed: {error}") from error
        if self._answers > 1:
            raise MalformedAnswer("malformed: more than one answer")
        return self._whole

    def on_message_begin(self) -> None:
        self._answers += 1

    def on_message_complete(self) -> None:
        self._whole = True
        self.stays_open = self._parser.should_keep_alive()  # the parser forgets it after this call


def fault(status: int, body: bytes, chunks: int | None) -> str | None:
    """What is wrong with a whole answer, or None.

    `chunks` is how many events of the stream must carry text (compact JSON; an opening empty text is none);
    None stands for an answer that is no stream.
    """
    if status != 200:
        return f"status {status}"
    if chunks is None:
        return None if b'"choices"' in body else "no choices"
    if not body.endswith(DONE):
        return "no [DONE]"
    seen = body.count(TEXT) - body.count(EMPTY_TEXT)
    return None if seen == chunks else f"{seen} of {chunks} chunks"
