"""Environment and algorithm are built as the algorithm's entry asks."""

import dataclasses

import pytest
import torch

from dva import learning, runs
from dva.learning import registry
from dva.runs.build import build_env, threads_of


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> str:
    """An algorithm that bootstraps from images and computes with large batches."""
    monkeypatch.setattr(registry._ALGORITHMS, "entries", dict(registry._ALGORITHMS.entries))
    entry = dataclasses.replace(
        learning.get("dva"), name="replaying", final_observations=True, threads_inside=True
    )
    return learning.register(entry).name


def test_final_observations_are_read_for_those_who_ask(tiny, replaying) -> None:
    for algo, wanted in (("dva", {"state"}), (replaying, {"pixels", "state"})):
        config = dataclasses.replace(tiny(), algo=algo)
        with runs.build(config) as built:
            *_, info = built.env.step(torch.zeros(4, 1))
            assert set(info["final_observation"]) == wanted
        env = build_env(config)  # as for an evaluation
        env.reset()
        assert set(env.step(torch.zeros(4, 1))[-1]["final_observation"]) == {"state"}
        env.close()


def test_threads_work_inside_operations_for_those_who_ask(tiny, replaying) -> None:
    for algo, inside in (("dva", 1), (replaying, 2)):
        config = dataclasses.replace(tiny(threads=2), algo=algo)
        with threads_of(config) as threads:
            assert (threads, torch.get_num_threads()) == (2, inside)
