"""How many retries there are to be had."""

from __future__ import annotations

import pytest

from app.routing.retry_budget import RESERVE, SPAN, RetryBudget


def spend(budget: RetryBudget, now: float, *, most: int = 10_000) -> int:
    """Takes all that is there at one moment; how many that were."""
    taken = 0
    while taken < most and budget.withdraw(now):
        taken += 1
    return taken


def test_a_quiet_gateway_may_retry_at_once() -> None:
    assert spend(RetryBudget(0.0), 1_000.0) == RESERVE


def test_the_reserve_comes_back_one_a_second() -> None:
    budget = RetryBudget(0.0)
    spend(budget, 1_000.0)
    assert not budget.withdraw(1_000.9)
    assert budget.withdraw(1_001.0)
    assert spend(budget, 1_006.0) == 5
    assert spend(budget, 5_000.0) == RESERVE


def test_nothing_saved_is_nothing_given() -> None:
    """Without a share of requests, no number of them earns a retry."""
    budget = RetryBudget(0.0)
    for _ in range(1_000):
        budget.deposit()
    assert spend(budget, 1_000.0) == RESERVE


def test_requests_save_up_their_share_and_no_more_than_a_span_of_it() -> None:
    budget = RetryBudget(0.25)
    spend(budget, 1_000.0)
    for _ in range(40):
        budget.deposit()
    assert spend(budget, 1_000.0) == 10
    for _ in range(100_000):
        budget.deposit()
    assert spend(budget, 1_000.0) == RESERVE + 0.25 * SPAN


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5])
def test_in_a_storm_retries_are_a_share_of_requests(share: float) -> None:
    """Each request wants four retries: it gets its share, beside the reserve and what a second brings."""
    budget, requests, seconds = RetryBudget(share), 20_000, 10.0
    retries = 0
    for number in range(requests):
        budget.deposit()
        retries += spend(budget, 1_000.0 + seconds * number / requests, most=4)
    assert retries <= RESERVE + share * requests + seconds + 1
    assert retries >= share * requests
