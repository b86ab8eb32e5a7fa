"""The program's path on CUDA, on a pretended device: whose tensors meet, and what is moved."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_cuda import PretendCuda, pretended_cuda
from torch import Tensor

import dva
from dva import cli
from dva.learning import DVA, SHAC, DvaConfig, Learner, ShacConfig
from dva.runs import default_config
from dva.runs.threads import lanes

TASKS = ["cartpole", "hopper", "cheetah", "ant", "humanoid", "anymal"]
SMALL: dict[str, Any] = {
    "num_envs": 3, "horizon": 4, "image_size": 24, "trunk_size": 8,
    "actor_hidden": (16,), "critic_hidden": (16,), "critic_iterations": 2, "iterations": 10,
    "precision": "float32",
}  # fmt: skip
LEARNERS: list[tuple[type[Learner], Any, dict[str, Any], dict[str, Any]]] = [
    (DVA, DvaConfig, {"micro_batch": 5}, {}),
    (DVA, DvaConfig, {"observe": "state"}, {"pixels": False, "state_storage": "recompute"}),
    (SHAC, ShacConfig, {"observe": "state"}, {"pixels": False}),
    (SHAC, ShacConfig, {}, {"camera": "differentiable", "pixel_gradient": True}),
]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendCuda]:
    with pretended_cuda(monkeypatch) as mode:
        yield mode


def learner(task: str, device: str, kind: Any, config: Any, values: Any, changes: Any) -> Learner:
    env = dva.make(task, 3, device=device, image_size=24, final_pixels=False, threads=1, **changes)
    env._may_look = False
    observe = "pixels" if changes.get("pixels", True) else "state"
    return kind(env, config(**SMALL, **{"observe": observe, **values}), seed=1)


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
    [*((task, LEARNERS[0]) for task in TASKS), *(("hopper", kind) for kind in LEARNERS[1:])],
)
def test_an_iteration_stays_on_the_device(
    monkeypatch: pytest.MonkeyPatch, task: str, kind: Any
) -> None:
    expected = learner(task, "cpu", *kind).iterate()
    with pretended_cuda(monkeypatch) as cuda:
        trained = learner(task, "cuda", *kind)
        found = trained.iterate()
        cuda.transfers.clear()
        trained.train_once(lambda phase: nullcontext())  # type: ignore[arg-type]
        assert not cuda.transfers
    for name, value in expected.items():
        if not name.startswith("seconds_"):
            close = value if value is None else pytest.approx(value, rel=1e-5)
            assert found[name] == close, name


@pytest.mark.parametrize("kind", LEARNERS)
def test_an_iteration_is_recorded(cuda: PretendCuda, kind: Any) -> None:
    plain, recorded = (learner("hopper", "cuda", *kind) for _ in range(2))
    plain._cuda_graphs = False
    assert recorded._cuda_graphs
    for _ in range(6):
        one, other = plain.iterate(), recorded.iterate()
        for name, value in one.items():
            assert other[name] == value or name.startswith("seconds_"), name
    assert recorded._places is not None


def test_cudnn_chooses_by_trying(cuda: PretendCuda) -> None:
    with lanes(default_config("hopper", device="cuda")) as threads:
        assert threads is None and torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


def test_a_run_on_the_device(cuda: PretendCuda, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    flags = "--num-envs 3 --horizon 4 --image-size 24 --evaluation-episodes 2"
    train = ["train", "cartpole", "--device", "cuda", "--precision", "float32", *flags.split()]
    assert cli.main([*train, "--iterations", "2", "--run-dir", run]) == 0
    assert cli.main(["train", "--resume", run, "--iterations", "6"]) == 0
    assert cli.main(["eval", run, "--device", "cuda", "--episodes", "2"]) == 0
