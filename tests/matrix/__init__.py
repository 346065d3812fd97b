"""Official SDKs as clients, every kind of upstream, every feature: what conversion between formats is judged by."""

import pytest

# Assertions there are read as often as those of the tests.
pytest.register_assert_rewrite("tests.matrix.cells")
