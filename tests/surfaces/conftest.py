"""A vendor that answers what a test wants, and the gateway in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway import Operator
from tests.providers.recorder import run_recorder
from tests.surfaces.vendor import Vendor


@pytest.fixture(scope="package")
def vendor(operator: Operator) -> Iterator[Vendor]:
    with run_recorder() as recorder, Vendor.open(operator, recorder) as vendor:
        yield vendor


@pytest.fixture
def fresh(vendor: Vendor) -> Vendor:
    """The same, as if nobody had called it yet."""
    vendor.reset()
    return vendor
