"""The texts have the token counts they claim."""

import json

import pytest
import tiktoken

from app.demo.answers import DEFAULT_TEXT, ENCODING, Answer, Writer

encoding = tiktoken.get_encoding(ENCODING)


def read_pieces(answer: Answer) -> list[str]:
    return [json.loads(piece) for piece in answer.pieces]


@pytest.fixture(scope="module")
def writer() -> Writer:
    return Writer()


def test_default_answer_has_sixteen_tokens(writer: Writer) -> None:
    answer = writer.write(DEFAULT_TEXT)

    assert (answer.tokens, len(answer.pieces), answer.complete) == (16, 16, True)
    assert len(encoding.encode(answer.text)) == 16


@pytest.mark.parametrize("tokens", [*range(60), 200, 1000])
def test_words_are_exact(writer: Writer, tokens: int) -> None:
    assert len(encoding.encode(writer.words(tokens))) == tokens


@pytest.mark.parametrize("limit", [1, 5, 15])
def test_limit_cuts_after_exactly_that_many_tokens(writer: Writer, limit: int) -> None:
    answer = writer.write(DEFAULT_TEXT, limit=limit)

    assert (answer.tokens, answer.complete) == (limit, False)
    assert len(encoding.encode(answer.text)) == limit
    assert DEFAULT_TEXT.startswith(answer.text)


@pytest.mark.parametrize("chunks", [1, 3, 16, 40])
def test_chunks_rejoin_to_the_text(writer: Writer, chunks: int) -> None:
    answer = writer.write(DEFAULT_TEXT, chunks=chunks)

    assert len(answer.pieces) == chunks
    assert "".join(read_pieces(answer)) == answer.text == DEFAULT_TEXT


def test_limit_and_chunks_share_the_cut(writer: Writer) -> None:
    answer = writer.write(DEFAULT_TEXT, chunks=4, limit=6)

    assert [len(encoding.encode(piece)) for piece in read_pieces(answer)] == [4, 2]


def test_characters_of_several_tokens_stay_whole(writer: Writer) -> None:
    text = "高清 🦜 𓀀 naïve <|endoftext|>"
    answer = writer.write(text)

    assert "".join(read_pieces(answer)) == text
    assert answer.tokens == len(encoding.encode(text, disallowed_special=()))
    assert len(answer.pieces) < answer.tokens


def test_surrogates_add_one_character(writer: Writer) -> None:
    answer = writer.with_surrogates(writer.write("ok"))

    assert answer.pieces[-2:] == (rb'"\ud83d"', rb'"\ude00"')
    assert answer.text == "ok😀"
    assert answer.tokens == len(encoding.encode("ok😀"))
