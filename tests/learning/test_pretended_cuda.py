"""The program's path on CUDA, on a pretended device: whose tensors meet, and what is moved."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_cuda import PretendCuda, pretended_cuda
from small import small_dagger, small_dva, small_ppo, small_shac
from torch import Tensor

import dva
from dva import cli
from dva.learning.rollout_learner import RolloutLearner
from dva.runs import default_config
from dva.runs.build import threads_of

TASKS = ["cartpole", "hopper", "cheetah", "ant", "humanoid", "anymal"]
Kind = tuple[Callable[..., RolloutLearner], dict[str, Any], dict[str, Any]]
KINDS: list[Kind] = [
    (small_dva, {"micro_batch": 5}, {}),
    (
        small_dva,
        {
            "guide": True, "center_features": True, "action_gradient_cap": 1.5,
            "imitation_steps": 2, "imitation_batch": 8, "replay_images": 36,
        },
        {"blind_envs": 2},
    ),
    (small_dva, {}, {"observe": "state", "state_storage": "recompute"}),
    (small_dva, {"micro_batch": 5}, {"observe": ("depth", "joint_angles")}),
    (small_ppo, {"micro_batch": 2}, {"observe": ("depth", "joint_angles")}),
    (small_shac, {}, {"observe": "state"}),
    (small_shac, {}, {"camera": "differentiable", "image_gradient": True}),
]
"""What makes an algorithm, changes of its configuration, and of its environment."""


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendCuda]:
    with pretended_cuda(monkeypatch) as mode:
        yield mode


def algorithm(task: str, device: str, kind: Kind) -> RolloutLearner:
    make, values, changes = kind
    env = dva.make(
        task, 3, device=device, image_size=24, final_observations=False, threads=1, **changes
    )
    env._may_look = False
    return make(env, seed=1, iterations=10, **{"horizon": 4, "trunk_size": 8, **values})


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x[0, 0].item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.copy_(torch.ones(2, 3)),
        lambda x: x[x > 0],
        lambda x: torch.tensor([1.0, 2.0], device="cuda"),
        lambda x: bool((x > 0).any()),
        lambda x: x.__setitem__(x > 0, torch.ones((0,), device="cuda")),
        lambda x: x.masked_scatter(x > 0, x),
        lambda x: torch.allclose(x, x),
        lambda x: x.new_tensor([1.0]),
    ],
)
def test_transfers_are_noticed(cuda: PretendCuda, operation: Callable[[Tensor], Any]) -> None:
    operation(torch.zeros(2, 3, device="cuda"))
    assert cuda.transfers


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x + torch.ones(3),
        lambda x: x[:, [0, 1]],
        lambda x: x @ torch.ones(3),
        lambda x: torch.stack([x[0, 0], torch.ones(())]),
    ],
)
def test_strangers_are_noticed(cuda: PretendCuda, operation: Callable[[Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match="cuda:0"):
        operation(torch.zeros(2, 3, device="cuda"))


@pytest.mark.parametrize(
    ("task", "kind"),
    [*((task, KINDS[0]) for task in TASKS), *(("hopper", kind) for kind in KINDS[1:])],
)
def test_an_iteration_stays_on_the_device(
    monkeypatch: pytest.MonkeyPatch, task: str, kind: Any
) -> None:
    expected = algorithm(task, "cpu", kind).iterate()
    with pretended_cuda(monkeypatch) as cuda:
        trained = algorithm(task, "cuda", kind)
        found = trained.iterate()
        cuda.transfers.clear()
        trained.train_once(lambda phase: nullcontext())  # type: ignore[arg-type]
        assert not cuda.transfers
    for name, value in expected.items():
        if not name.startswith("seconds_"):
            close = value if value is None else pytest.approx(value, rel=1e-5)
            assert found[name] == close, name


@pytest.mark.parametrize("kind", [*KINDS, (small_dagger, {"expert_steps": 12}, {})])
def test_an_iteration_is_recorded(cuda: PretendCuda, kind: Any) -> None:
    plain, recorded = (algorithm("hopper", "cuda", kind) for _ in range(2))
    plain._cuda_graphs = False
    assert recorded._cuda_graphs
    for _ in range(6):
        one, other = plain.iterate(), recorded.iterate()
        for name, value in one.items():
            assert other[name] == value or name.startswith("seconds_"), name
    assert recorded._fixed is not None


def test_cudnn_chooses_by_trying(cuda: PretendCuda) -> None:
    with threads_of(default_config("hopper", device="cuda")) as threads:
        assert threads is None and torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


def test_a_run_on_the_device(cuda: PretendCuda, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    flags = "--num-envs 3 --horizon 4 --image-size 24 --evaluation-episodes 2"
    train = ["train", "cartpole", "--device", "cuda", "--precision", "float32", *flags.split()]
    assert cli.main([*train, "--env-steps", "24", "--run-dir", run]) == 0
    assert cli.main(["train", "--resume", run, "--env-steps", "72"]) == 0
    assert cli.main(["eval", run, "--device", "cuda", "--episodes", "2"]) == 0
