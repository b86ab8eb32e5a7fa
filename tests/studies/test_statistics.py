"""Interquartile means and their intervals against values worked out by hand."""

import numpy as np
import pytest

from dva.studies.statistics import bootstrap_interval, interquartile_mean


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 5.0),
        ([1.0, 2.0], 1.5),
        ([1.0, 2.0, 6.0], 3.0),  # a quarter of three is less than one: nothing is cut
        ([100.0, 1.0, 2.0, -100.0], 1.5),
        ([9.0, 1.0, 2.0, 3.0, -7.0], 2.0),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 4.5),
        ([-99.0, -99.0, 1.0, 2.0, 4.0, 5.0, 99.0, 99.0], 3.0),
    ],
)
def test_the_highest_and_lowest_quarter_are_left_out(values, expected):
    assert interquartile_mean(np.array(values)) == pytest.approx(expected)


def test_each_position_has_its_own_mean():
    values = np.array([[0.0, 9.0], [1.0, 3.0], [2.0, 1.0], [9.0, 0.0]])
    np.testing.assert_allclose(interquartile_mean(values), [1.5, 2.0])
    np.testing.assert_allclose(interquartile_mean(values.T, axis=1), [1.5, 2.0])


def test_equal_runs_leave_no_doubt():
    low, high = bootstrap_interval(np.full((5, 3), [1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(low, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(high, [1.0, 2.0, 3.0])


def test_bounds_are_quantiles_of_the_resampled_means():
    """Of runs 0, 0, 1, 1 a resample has k ones, k binomial of 4 and 1/2. The mean of its middle two
    is 0 for k < 2 (5/16 of them), 1/2 for k = 2 (6/16) and 1 for k > 2."""
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    for confidence, expected in ((0.95, (0.0, 1.0)), (0.3, (0.5, 0.5)), (0.45, (0.0, 1.0))):
        low, high = bootstrap_interval(values, confidence)
        assert (low[0], high[0]) == expected
    # Of 0, 0, 1 the mean is 0 in 8/27 of the resamples, and 1 in 1/27: more than 2.5 %.
    low, high = bootstrap_interval(np.array([[0.0], [0.0], [1.0]]))
    assert (low[0], high[0]) == (0.0, 1.0)
    low, high = bootstrap_interval(np.array([[0.0], [0.0], [1.0]]), 0.9)  # 1/27 is less than 5 %
    assert (low[0], high[0]) == (0.0, pytest.approx(2 / 3))


def test_many_runs_come_near_the_normal_interval():
    """The squared error of a mean without its outer quarters is, for a density that is symmetric
    around 0, (4 / n) times the integral of x^2 over the middle half plus half the squared quartile;
    here the density is uniform, of width 1."""
    runs = 400
    values = (np.arange(runs) + 0.5)[:, None] / runs
    low, high = bootstrap_interval(values)
    error = np.sqrt(4 / runs * (2 * 0.25**3 / 3 + 0.25**2 / 2))
    assert (low[0] + high[0]) / 2 == pytest.approx(0.5, abs=0.2 * error)
    assert (high[0] - low[0]) / 2 == pytest.approx(1.96 * error, rel=0.08)


def test_whole_runs_are_drawn_and_the_draws_repeat():
    values = np.random.default_rng(1).normal(size=(6, 1))
    low, high = bootstrap_interval(np.repeat(values, 3, axis=1))
    assert np.ptp(low) == np.ptp(high) == 0.0
    assert bootstrap_interval(values)[0] == low[0]
    assert bootstrap_interval(values, seed=1)[0] != low[0]
