"""The benchmark's verdicts: medians over rounds, shares within one round, errors spoil a figure."""

from bench.plan import LoadResult, Spread
from bench.report import ADDED_P50, SHARE_32, Figure, MemorySample, build_figures, median_and_range
from bench.scenarios import LATENCY_100, REQUESTS_32, REQUESTS_128, Measurement, Scenario


def measured(scenario: Scenario, target: str, turn: int, rate: float, p50: float = 1.0, wrong: int = 0) -> Measurement:
    errors = {"status 500": wrong} if wrong else {}
    load = LoadResult(100, 100, 1.0, rate, Spread(p50, p50 * 2, p50 * 3), None, errors, "", 32, 0.1)
    return Measurement(scenario.name, target, turn, load, {}, {}, 0.0, 50.0)


def by_title(figures: list[Figure], start: str) -> Figure:
    return next(figure for figure in figures if figure.title.startswith(start))


def test_a_share_is_taken_within_each_round_and_its_median_is_judged() -> None:
    rates = [(1000.0, 600.0), (2000.0, 800.0), (500.0, 240.0)]  # 0.6, 0.4, 0.48
    measurements = [
        measured(REQUESTS_32, target, turn, rate)
        for turn, pair in enumerate(rates)
        for target, rate in zip(("floor", "full"), pair, strict=True)
    ]
    figure = by_title(build_figures(measurements, []), REQUESTS_32.title)
    assert figure.judged == [0.6, 0.4, 0.48]
    assert figure.verdict == "must"


def test_128_connections_are_judged_against_the_same_targets_32() -> None:
    measurements = [measured(REQUESTS_32, "full", 1, 1000.0), measured(REQUESTS_128, "full", 1, 1100.0)]
    figure = by_title(build_figures(measurements, []), REQUESTS_128.title)
    assert (figure.judged, figure.verdict) == ([1.1], "aim")


def test_an_error_makes_a_figure_fall_below() -> None:
    measurements = [measured(REQUESTS_32, "full", 1, 1000.0), measured(REQUESTS_128, "full", 1, 1100.0, wrong=1)]
    figure = by_title(build_figures(measurements, []), REQUESTS_128.title)
    assert (figure.errors, figure.verdict) == (1, "below")


def test_added_latency_is_what_the_gateway_adds_to_the_upstream_alone() -> None:
    measurements = [measured(LATENCY_100, "direct", 1, 100.0, 50.5), measured(LATENCY_100, "full", 1, 100.0, 52.75)]
    p50, p99 = (figure for figure in build_figures(measurements, []) if figure.title.startswith(LATENCY_100.title))
    assert (p50.judged, p50.verdict) == ([2.25], "must")
    assert (p99.judged, p99.verdict) == ([4.5], "aim")


def test_memory_is_judged_idle_and_at_the_end() -> None:
    samples = [MemorySample("full", 0, 79.0), MemorySample("full", 50_000, 150.0), MemorySample("full", 100_000, 120.0)]
    idle, loaded = build_figures([], samples)
    assert (idle.judged, idle.verdict) == ([79.0], "aim")
    assert (loaded.judged, loaded.verdict) == ([120.0], "must")


def test_nothing_measured_gives_no_figure_and_no_gateway_no_verdict() -> None:
    assert build_figures([], []) == []
    (figure,) = build_figures([measured(REQUESTS_32, "floor", 1, 1000.0)], [])
    assert (figure.judged, figure.verdict) == ([], "")


def test_bars_belong_to_the_better_side() -> None:
    assert [SHARE_32.verdict(value) for value in (0.5, 0.35, 0.34)] == ["aim", "must", "below"]
    assert [ADDED_P50.verdict(value) for value in (2.0, 2.5, 2.6)] == ["aim", "must", "below"]


def test_rounds_show_as_median_and_range() -> None:
    assert median_and_range([5569.0, 5115.0, 6354.0]) == "5,569 (5,115–6,354)"
    assert median_and_range([0.512]) == "0.512"
    assert median_and_range([]) == "–"
