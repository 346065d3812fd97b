"""Tests of the choice of channel, on clocks that they move themselves."""
