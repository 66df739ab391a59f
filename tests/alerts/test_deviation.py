"""The chi-square tail against a table, and against an integration of the density."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from stream_twin.alerts.rules.deviation import chi_square_tail


@pytest.mark.parametrize(
    ("x", "degrees", "tail"),
    [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (11.344867, 3, 0.01), (18.466827, 4, 0.001), (20.515006, 5, 0.001)],
)
def test_against_the_printed_table(x, degrees, tail):
    assert chi_square_tail(x, degrees) == pytest.approx(tail, rel=1e-5)


@given(st.floats(0, 400), st.integers(1, 12))
def test_against_scipy(x, degrees):
    assert math.isclose(chi_square_tail(x, degrees), chi2.sf(x, degrees), rel_tol=1e-9, abs_tol=1e-80)
