"""Streams of one seed and of its neighbours have nothing to do with one another."""

from itertools import combinations

import torch

from dva.compute.random_streams import stream_seed

NAMES = ("starts", "networks", "noise", "minibatches", "torch")


def test_a_stream_repeats() -> None:
    assert stream_seed(3, "noise") == stream_seed(3, "noise")
    assert 0 <= stream_seed(2**62, "noise") < 2**63


def test_neighbours_share_nothing() -> None:
    seeds = {(seed, name): stream_seed(seed, name) for seed in range(200) for name in NAMES}
    assert len({value % 2**32 for value in seeds.values()}) == len(seeds)
    draws = {
        key: torch.randn(1600, generator=torch.Generator().manual_seed(value))
        for key, value in seeds.items()
        if key[0] < 3
    }
    for one, other in combinations(draws.values(), 2):
        # Five standard deviations of a correlation by chance, 1 / sqrt(1600) each.
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 5 / 40
