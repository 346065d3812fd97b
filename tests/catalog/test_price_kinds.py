"""Each kind of price, by hand: from what a vendor reports to what is charged."""

from __future__ import annotations

import pytest

from app.catalog.prices import FREE, PPM, Price, read_price
from app.core.usage import Usage
from tests.formats.test_usage import FIXTURES, READERS


def reported(name: str) -> Usage:
    """The usage that a vendor's reply (`tests/formats/usage`) is read as."""
    fixture = FIXTURES[name]
    usage = READERS[fixture["format"]](fixture["reply"], frozenset(fixture["quirks"]))
    assert usage is not None
    return usage


SONNET = {"input_mtok": "3", "output_mtok": "15"}
CACHED = SONNET | {"cache_read_mtok": "0.3", "cache_write_mtok": "3.75"}
FLASH = {"input_mtok": "0.3", "output_mtok": "2.5", "input_audio_mtok": "1"}
IMAGE = {
    "per_image": "0.04",
    "variants": [
        {"when": {"size": "1024x1536", "quality": "high"}, "per_image": "0.25"},
        {"when": {"quality": "low"}, "per_image": "0.011"},
    ],
}
VIDEO = {
    "per_second": "0.4",
    "variants": [
        {"when": {"resolution": "1080p", "input": "image"}, "per_second": "0.6"},
        {"when": {"resolution": "1080p"}, "per_second": "0.5"},
    ],
}
CLIP = {
    "per_video": "0.5",
    "variants": [
        {"when": {"duration": "15"}, "per_video": "0.8"},
        {"when": {"duration": 25, "hd": True}, "per_video": "2"},
    ],
}
CONTEXT = {
    "input_mtok": "1.25",
    "output_mtok": "10",
    "cache_read_mtok": "0.125",
    "variants": [
        {"when": {"context_over": 500000}, "input_mtok": "5"},
        {"when": {"context_over": 200000}, "input_mtok": "2.5", "output_mtok": "15"},
    ],
}
TIERED = SONNET | {
    "per_call": "0.001",
    "variants": [
        {"when": {"service_tier": "batch"}, "input_mtok": "1.5", "output_mtok": "7.5"},
        {"when": {"service_tier": "priority"}, "input_mtok": "6", "output_mtok": "30", "per_call": "0"},
    ],
}


def clip(**traits: str) -> Usage:
    return Usage(videos=1, milliseconds=12_340, traits=traits)


# Prices are dollars a million tokens, so a token at "3" is 3,000 nano-dollars.
@pytest.mark.parametrize(
    ("price", "usage", "nano"),
    [
        pytest.param(SONNET, reported("ollama"), 10 * 3_000 + 5 * 15_000, id="input and output"),
        # 64 of the 100 are hits
        pytest.param(CACHED, reported("deepseek"), 36 * 3_000 + 64 * 300 + 300 * 15_000, id="cached read"),
        # Anthropic: 20 beside 70,000 read, 2,000 written for five minutes and 3,000 for an hour
        pytest.param(
            CACHED | {"cache_write_1h_mtok": "6"},
            reported("anthropic"),
            20 * 3_000 + 70_000 * 300 + 2_000 * 3_750 + 3_000 * 6_000 + 400 * 15_000,
            id="cache write, 5 minutes and 1 hour",
        ),
        pytest.param(
            CACHED,
            reported("anthropic"),
            20 * 3_000 + 70_000 * 300 + 5_000 * 3_750 + 400 * 15_000,
            id="an hour's cache write without a price of its own",
        ),
        pytest.param(
            SONNET | {"cache_write_1h_mtok": "6"},
            reported("anthropic"),
            72_020 * 3_000 + 3_000 * 6_000 + 400 * 15_000,
            id="an hour's cache write with the only price of a cache",
        ),
        # OpenAI keeps 2,000 of the 3,000 written for twelve hours
        pytest.param(
            CACHED | {"cache_write_1h_mtok": "6"},
            reported("openai_responses"),
            976 * 3_000 + 1_024 * 300 + 1_000 * 3_750 + 2_000 * 6_000 + 300 * 15_000,
            id="cache write, 30 minutes and 12 hours",
        ),
        # xAI: 94 beside 9
        pytest.param(SONNET, reported("xai"), 32 * 3_000 + 103 * 15_000, id="reasoning as output"),
        pytest.param(
            CACHED | {"output_reasoning_mtok": "20"},
            reported("xai"),
            26 * 3_000 + 6 * 300 + 9 * 15_000 + 94 * 20_000,
            id="reasoning at its own price",
        ),
        # 1,117 in, of which 1,024 cached, 13 heard and 9 seen; 146 out, of which 20 spoken
        pytest.param(
            SONNET | {"cache_read_mtok": "0.3", "input_audio_mtok": "40", "output_audio_mtok": "80"},
            reported("openai_chat"),
            80 * 3_000 + 1_024 * 300 + 13 * 40_000 + 126 * 15_000 + 20 * 80_000,
            id="audio in and out",
        ),
        pytest.param(
            SONNET | {"input_image_mtok": "5"},
            reported("openai_chat"),
            1_108 * 3_000 + 9 * 5_000 + 146 * 15_000,
            id="image in",
        ),
        # Gemini: 2,500 in, of which 1,500 cached (1,200 of them heard), 1,300 heard in all; 603 out
        pytest.param(
            FLASH | {"cache_read_mtok": "0.03", "cache_audio_read_mtok": "0.1"},
            reported("gemini"),
            900 * 300 + 300 * 30 + 1_200 * 100 + 100 * 1_000 + 603 * 2_500,
            id="cached audio",
        ),
        pytest.param(
            FLASH | {"cache_read_mtok": "0.03"},
            reported("gemini"),
            900 * 300 + 1_500 * 30 + 100 * 1_000 + 603 * 2_500,
            id="cached audio at the price of other cached input",
        ),
        pytest.param(
            FLASH,
            reported("gemini"),
            1_200 * 300 + 1_300 * 1_000 + 603 * 2_500,
            id="cached audio at the price of audio",
        ),
        pytest.param(
            FLASH | {"output_audio_mtok": "10"},
            reported("gemini_speech"),
            8 * 300 + 90 * 10_000,
            id="nothing but sound out",
        ),
        # 400 in, of which 388 of a picture; 8,320 out, of which 8,316 of pictures
        pytest.param(
            {"input_mtok": "5", "input_image_mtok": "10", "output_mtok": "12", "output_image_mtok": "40"},
            reported("openai_images"),
            12 * 5_000 + 388 * 10_000 + 4 * 12_000 + 8_316 * 40_000,
            id="image tokens in and out",
        ),
        pytest.param(
            FLASH | {"output_image_mtok": "30"},
            reported("gemini_image"),
            8 * 300 + 10 * 2_500 + 1_290 * 30_000,
            id="an image beside text",
        ),
        pytest.param({"per_call": "0.002"}, reported("ollama"), 2_000_000, id="per call"),
        pytest.param(
            SONNET | {"per_call": "0.002"}, reported("openai_chat_zero"), 2_000_000, id="a call without a token"
        ),
        pytest.param(IMAGE, reported("openai_images"), 2 * 250_000_000, id="per image, by size and quality"),
        pytest.param(IMAGE, reported("openai_images_stream"), 11_000_000, id="per image, by quality"),
        pytest.param(IMAGE, reported("openai_images_urls"), 40_000_000, id="per image, of a size that isn't told"),
        # 12.34 s
        pytest.param(VIDEO, clip(resolution="720p"), 4_936_000_000, id="per second"),
        pytest.param(VIDEO, clip(resolution="1080P", input="text"), 6_170_000_000, id="per second, by resolution"),
        pytest.param(VIDEO, clip(resolution="1080p", input="image"), 7_404_000_000, id="per second, by kind of input"),
        pytest.param({"per_second": "0.000000001"}, clip(), 13, id="a part of a nano-dollar"),
        pytest.param(CLIP, clip(duration="10"), 500_000_000, id="per video"),
        pytest.param(CLIP, clip(duration="15"), 800_000_000, id="per video, by duration"),
        pytest.param(CLIP, clip(duration="25", hd="true"), 2_000_000_000, id="per video, by duration and quality"),
        pytest.param(CLIP, clip(duration="25"), 500_000_000, id="per video, where half a condition holds"),
        # 61.4 s
        pytest.param(
            {"per_minute": "0.006"},
            reported("openai_transcription_duration"),
            6_140_000,
            id="per minute, by the millisecond",
        ),
        pytest.param(
            {"per_minute": "0.007"}, reported("openai_transcription_duration"), 7_163_334, id="thirds rounded up"
        ),
        pytest.param(
            {"input_mtok": "2.5", "input_audio_mtok": "6", "output_mtok": "10"},
            reported("openai_transcription_tokens"),
            14 * 2_500 + 126 * 6_000 + 30 * 10_000,
            id="a transcription by tokens",
        ),
        pytest.param(
            {"input_mtok": "0.6", "output_audio_mtok": "12"},
            reported("openai_speech"),
            14 * 600 + 101 * 12_000,
            id="speech",
        ),
        pytest.param({"per_kchar": "0.015"}, Usage(characters=1_234), 18_510_000, id="per character"),
        pytest.param({"per_search_unit": "0.002"}, Usage(search_units=3), 6_000_000, id="per search unit"),
        pytest.param(
            CACHED | {"per_search_unit": "0.01"},
            reported("anthropic"),
            20 * 3_000 + 70_000 * 300 + 5_000 * 3_750 + 400 * 15_000 + 2 * 10_000_000,
            id="searches beside tokens",
        ),
        pytest.param(CONTEXT, Usage(199_999, 10), 199_999 * 1_250 + 10 * 10_000, id="below a context tier"),
        pytest.param(CONTEXT, Usage(200_000, 10), 200_000 * 1_250 + 10 * 10_000, id="at a context tier"),
        pytest.param(CONTEXT, Usage(200_001, 10), 200_001 * 2_500 + 10 * 15_000, id="above a context tier"),
        pytest.param(
            CONTEXT,
            Usage(300_000, 10, cache_read_tokens=250_000),
            50_000 * 2_500 + 250_000 * 125 + 10 * 15_000,
            id="a context tier with an amount of the base",
        ),
        pytest.param(CONTEXT, Usage(500_001, 10), 500_001 * 5_000 + 10 * 10_000, id="the first variant alone"),
        pytest.param(TIERED, reported("anthropic_batch"), 1_000_000 + 20 * 1_500 + 4 * 7_500, id="batch"),
        pytest.param(TIERED, reported("openai_chat_fast"), 10 * 6_000 + 5 * 30_000, id="priority, also called fast"),
        pytest.param(
            TIERED, reported("openai_chat_flex"), 1_000_000 + 10 * 3_000 + 5 * 15_000, id="a tier without a price"
        ),
        pytest.param(TIERED, reported("ollama"), 1_000_000 + 10 * 3_000 + 5 * 15_000, id="the ordinary tier"),
        pytest.param(
            SONNET | {"variants": [{"when": {"service_tier": "fast"}, "input_mtok": "30", "output_mtok": "150"}]},
            reported("anthropic_fast"),
            20 * 30_000 + 4 * 150_000,
            id="Anthropic's fast mode",
        ),
        pytest.param(SONNET, Usage(), 0, id="nothing used"),
        pytest.param(IMAGE, Usage(100, 100), 0, id="no piece made"),
        pytest.param({"input_mtok": "0"}, reported("anthropic"), 0, id="a price of zero"),
    ],
)
def test_by_hand(price: dict[str, object], usage: Usage, nano: int) -> None:
    assert read_price(price).cost(usage) == nano


def test_a_free_model_costs_nothing() -> None:
    for name, fixture in FIXTURES.items():
        if fixture["usage"] is not None:
            assert FREE.cost(reported(name)) == 0


@pytest.mark.parametrize(
    ("price", "account_ppm", "group_ppm", "nano"),
    [
        # 105,000 nano-dollars, times
        (SONNET, 1_500_000, PPM, 157_500),
        (SONNET, PPM, 800_000, 84_000),
        (SONNET, 1_500_000, 800_000, 126_000),
        (SONNET, 0, 800_000, 0),
        (SONNET, 1_500_000, 0, 0),
        (SONNET, 333_333, 333_333, 11_667),  # 11,666.643..., rounded once
        ({"per_minute": "0.007"}, 1_500_000, 800_000, 0),
        (TIERED, 1_500_000, 800_000, 1_326_000),
    ],
)
def test_ratios_multiply(price: dict[str, object], account_ppm: int, group_ppm: int, nano: int) -> None:
    assert read_price(price).cost(reported("ollama"), account_ppm, group_ppm) == nano


def test_both_ratios_and_a_third_are_rounded_once() -> None:
    # 7,163,333.33... x 1.1 x 0.9 = 7,091,700 exactly
    usage = reported("openai_transcription_duration")
    assert Price(per_minute=7_000_000).cost(usage, 1_100_000, 900_000) == 7_091_700
