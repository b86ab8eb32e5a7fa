"""Interquartile means of few runs, and how sure they are.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

import numpy as np

__all__ = ["FEWEST", "bootstrap_interval", "interquartile_mean"]

FEWEST = 3
"""Runs that an interval needs: of two, a bootstrap shows little but these two."""
RESAMPLES = 2000


def interquartile_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Averages what is left without the lowest and the highest quarter, each rounded down.

    Of one to three values it is the mean, of four that of the middle two.

    Args:
        values: of any shape.
        axis: the one to average over.
    """
    ordered = np.sort(values, axis)
    cut = values.shape[axis] // 4
    return np.take(ordered, range(cut, values.shape[axis] - cut), axis).mean(axis)


def bootstrap_interval(
    values: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates where the interquartile mean over runs lies, by the percentile bootstrap.

    Whole runs are drawn with replacement, so that a curve stays one. Where curves of several tasks
    lie in panels of their own, each is a stratum by itself.

    Args:
        values: of each run, at one position or more: (runs, positions).
        confidence: share of the resampled means that lie within.
        seed: of the draws.

    Returns:
        Lower and upper bounds (positions,).
    """
    runs = len(values)
    drawn = np.random.default_rng(seed).integers(runs, size=(RESAMPLES, runs))
    # Position by position: all of them together would be RESAMPLES times the curves.
    bounds = [
        np.quantile(
            interquartile_mean(column[drawn], axis=1),
            [(1 - confidence) / 2, (1 + confidence) / 2],
        )
        for column in values.T
    ]
    low, high = np.array(bounds).reshape(-1, 2).T
    return low, high
