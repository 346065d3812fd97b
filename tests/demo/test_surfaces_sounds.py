"""The official SDK has sounds written down and translated."""

import http.client
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import openai
import pytest

from app.demo.answers import DEFAULT_TEXT
from app.demo.media.makers import make_wav
from tests.demo.process import DemoProcess, read_peak_kib

pytestmark = [pytest.mark.usefixtures("demo"), pytest.mark.filterwarnings("ignore:deprecated")]
WAV = ("a.wav", make_wav("hello", 2.5), "audio/wav")
MIB = 1 << 20


@pytest.fixture(scope="module")
def sdk(demo_process: DemoProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_process.url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


def test_tokens(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    made = sdk.audio.transcriptions.create(file=WAV, model="gpt-4o-transcribe", prompt="hello world", language="en")

    assert made.text == DEFAULT_TEXT
    assert made.usage is not None
    assert made.usage.type == "tokens"
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (27, 16, 43)
    assert made.usage.input_token_details is not None
    assert (made.usage.input_token_details.audio_tokens, made.usage.input_token_details.text_tokens) == (25, 2)
    entry = demo.settled()[0]
    assert {part["name"]: part["text"] for part in entry["parts"] if part["filename"] is None} == {
        "model": "gpt-4o-transcribe",
        "prompt": "hello world",
        "language": "en",
    }
    assert [(part["filename"], part["size"]) for part in entry["parts"] if part["filename"]] == [("a.wav", len(WAV[1]))]


def test_seconds(sdk: openai.OpenAI) -> None:
    made = sdk.audio.transcriptions.create(file=WAV, model="whisper-1", response_format="json")
    other = sdk.audio.transcriptions.create(file=("a.mp3", bytes(32_000)), model="whisper-1")
    told = sdk.audio.transcriptions.create(file=WAV, model="whisper-1?audio_seconds=90.5")

    assert [each.usage.to_dict() for each in (made, other, told) if each.usage is not None] == [
        {"type": "duration", "seconds": 3},
        {"type": "duration", "seconds": 2},
        {"type": "duration", "seconds": 91},
    ]


def test_verbose(sdk: openai.OpenAI) -> None:
    made = sdk.audio.transcriptions.create(
        file=WAV,
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )

    assert (made.text, made.duration, made.language) == (DEFAULT_TEXT, 2.5, "english")
    assert made.usage is not None
    assert (made.usage.type, made.usage.seconds) == ("duration", 3)
    assert made.segments is not None
    assert made.words is not None
    assert " ".join(each.text for each in made.segments) == " ".join(each.word for each in made.words) == DEFAULT_TEXT
    assert (made.segments[0].start, made.segments[-1].end) == (0, 2.5)


def test_diarized(sdk: openai.OpenAI) -> None:
    made = sdk.audio.transcriptions.create(
        file=WAV, model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
    )

    assert [(each.id, each.speaker) for each in made.segments] == [("seg_000", "A"), ("seg_001", "B")]
    assert made.usage is not None
    assert (made.duration, made.usage.type) == (2.5, "tokens")


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("text", DEFAULT_TEXT + "\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,429\nThe demo upstream"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.429\nThe demo upstream"),
    ],
)
def test_plain_formats(sdk: openai.OpenAI, form: Any, start: str) -> None:
    made: Any = sdk.audio.transcriptions.create(file=WAV, model="whisper-1", response_format=form)
    translated: Any = sdk.audio.translations.create(file=WAV, model="whisper-1", response_format=form)

    assert made == translated
    assert made.startswith(start)


def test_stream(sdk: openai.OpenAI) -> None:
    *deltas, done = sdk.audio.transcriptions.create(file=WAV, model="gpt-4o-transcribe", stream=True)

    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == DEFAULT_TEXT
    assert done.type == "transcript.text.done"
    assert done.usage is not None
    assert (done.text, done.usage.total_tokens) == (DEFAULT_TEXT, 25 + 16)


def test_diarized_stream(sdk: openai.OpenAI) -> None:
    events = list(
        sdk.audio.transcriptions.create(
            file=WAV, model="gpt-4o-transcribe-diarize", response_format="diarized_json", stream=True
        )
    )

    assert [event.speaker for event in events if event.type == "transcript.text.segment"] == ["A", "B"]


def test_whisper_streams_nothing(sdk: openai.OpenAI) -> None:
    with sdk.audio.transcriptions.with_streaming_response.create(file=WAV, model="whisper-1", stream=True) as response:
        assert response.headers["content-type"] == "application/json"


def test_a_stream_is_cut(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        list(sdk.audio.transcriptions.create(file=WAV, model="gpt-4o-transcribe?cut=2", stream=True))


def test_translations(sdk: openai.OpenAI) -> None:
    plain = sdk.audio.translations.create(file=WAV, model="whisper-1")
    verbose = sdk.audio.translations.create(file=WAV, model="whisper-1", response_format="verbose_json")

    assert plain.to_dict() == {"text": DEFAULT_TEXT}
    assert (verbose.duration, "usage" in verbose.to_dict()) == (2.5, False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("words", "expected"),
    [("missing", None), ("zero", 0), ("negative", -41)],
)
def test_usage_options(sdk: openai.OpenAI, words: str, expected: object, stream: bool) -> None:
    made: Any = sdk.audio.transcriptions.create(file=WAV, model=f"gpt-4o-transcribe?usage={words}", stream=stream)
    told = (list(made)[-1] if stream else made).to_dict()

    usage = told.get("usage", {})
    assert usage.get("total_tokens") == expected


@pytest.mark.parametrize(
    ("fields", "file", "param"),
    [
        ({"model": "m"}, None, "file"),
        ({"model": "m"}, ("a.wav", b""), "file"),
        ({}, WAV, "model"),
        ({"model": "m", "response_format": "pdf"}, WAV, "response_format"),
        ({"model": "m", "stream": "yes"}, WAV, "stream"),
        ({"model": "m?usage=some"}, WAV, "model"),
    ],
)
def test_bad_requests(sdk: openai.OpenAI, fields: dict[str, str], file: Any, param: str) -> None:
    files = {"file": file} if file else {"other": ("a", b"a")}
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.post(
            "/audio/transcriptions",
            body=fields,
            files=files,
            cast_to=object,
            options={"headers": {"content-type": "multipart/form-data"}},
        )

    assert caught.value.param == param


def test_a_broken_form(demo: DemoProcess) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", demo.port, timeout=10)) as connection:
        head = {"authorization": "Bearer sk-test", "content-type": "multipart/form-data; boundary=x"}
        connection.request("POST", "/v1/audio/transcriptions", b"--x\r\nContent-Disposition: form-data\r\n\r\n", head)
        assert connection.getresponse().status == 400
    assert len(demo.settled()) == 1


def test_a_large_file_takes_little_memory(demo: DemoProcess) -> None:
    size = 64 * MIB
    head = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    tail = b"\r\n--x--\r\n"
    before = read_peak_kib(demo.pid)
    with closing(http.client.HTTPConnection("127.0.0.1", demo.port, timeout=60)) as connection:
        connection.putrequest("POST", "/v1/audio/transcriptions")
        connection.putheader("authorization", "Bearer sk-test")
        connection.putheader("content-type", "multipart/form-data; boundary=x")
        connection.putheader("content-length", str(len(head) + size + len(tail)))
        connection.endheaders()
        connection.send(head)
        for _ in range(size // MIB):
            connection.send(bytes(MIB))
        connection.send(tail)
        response = connection.getresponse()
        assert (response.status, b'"seconds":4195' in response.read()) == (200, True)

    assert read_peak_kib(demo.pid) - before < 16 << 10
    assert demo.settled()[0]["parts"][1]["size"] == size
