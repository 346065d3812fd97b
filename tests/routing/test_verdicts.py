"""What a failure says, and of whom."""

from __future__ import annotations

import pytest

from app.errors import Blame, Kind, UpstreamError, bad_upstream_response
from app.routing.outages import OutageKind, Scope
from app.routing.verdicts import QUOTA_CODES, Verdict, judge
from tests.routing.scene import status, unreachable

KEY, KEY_AND_MODEL, MODEL, CHANNEL = Scope(7, "", 2), Scope(7, "m", 2), Scope(7, "m"), Scope(7)
REFUSED, RATE_LIMITED, FAILING = OutageKind.REFUSED, OutageKind.RATE_LIMITED, OutageKind.FAILING


def timeout() -> UpstreamError:
    return UpstreamError(Kind.TIMEOUT, "upstream_timeout", "Late.")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(status(401), Verdict(KEY, REFUSED, "status_401", True), id="401"),
        pytest.param(status(402), Verdict(KEY, REFUSED, "status_402", True), id="402"),
        pytest.param(status(403), Verdict(KEY_AND_MODEL, REFUSED, "status_403", True), id="403"),
        pytest.param(status(404), Verdict(MODEL, REFUSED, "status_404", True), id="404"),
        pytest.param(status(429), Verdict(KEY_AND_MODEL, RATE_LIMITED, "status_429", True), id="429"),
        pytest.param(
            status(429, pause=7.5), Verdict(KEY_AND_MODEL, RATE_LIMITED, "status_429", True, 7.5), id="429 with a pause"
        ),
        pytest.param(
            status(503, pause=3.0), Verdict(MODEL, RATE_LIMITED, "status_503", True, 3.0), id="503 with a pause"
        ),
        pytest.param(status(503), Verdict(MODEL, FAILING, "status_503", False), id="503"),
        pytest.param(status(529), Verdict(MODEL, FAILING, "status_529", False), id="529"),
        pytest.param(status(500), Verdict(MODEL, FAILING, "status_500", False), id="500"),
        pytest.param(
            status(500, pause=9.0), Verdict(MODEL, FAILING, "status_500", False), id="a pause of a 500 says nothing"
        ),
        pytest.param(timeout(), Verdict(MODEL, FAILING, "upstream_timeout", False), id="time-out"),
        pytest.param(
            bad_upstream_response("HTML"), Verdict(MODEL, FAILING, "upstream_bad_response", False), id="garbage"
        ),
        pytest.param(
            unreachable(), Verdict(CHANNEL, FAILING, "upstream_unreachable", False), id="no connection: no model works"
        ),
    ],
)
def test_what_a_failure_says(error: UpstreamError, expected: Verdict) -> None:
    assert judge(error, 7, "m", 2) == expected


@pytest.mark.parametrize("code", sorted(QUOTA_CODES))
def test_no_money_is_no_rate_limit(code: str) -> None:
    """Whatever pause comes with it: waiting doesn't bring money."""
    verdict = judge(status(429, pause=1.0, upstream_code=code), 7, "m", 2)
    assert verdict == Verdict(KEY, REFUSED, "status_429", True)


@pytest.mark.parametrize("code", [400, 409, 413, 415, 422])
def test_what_the_client_got_wrong_is_nobody_elses_fault(code: int) -> None:
    error = UpstreamError(Kind.INVALID, "bad", "Bad.", upstream_status=code, blame=Blame.CLIENT, retryable=False)
    assert judge(error, 7, "m", 2) is None
