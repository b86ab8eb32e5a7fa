"""Two processes that train together, and what they do; with `ALONE` one process does the same."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from point_mass import PointMass
from small import CRITIC, VALUES, parameter_gradient, without_times
from torch import Tensor, distributed

import dva
from dva.compute.distributed import Group, Processes
from dva.learning import DVA, PPO, SHAC, DvaConfig, PpoConfig, ShacConfig, TrainingContext
from dva.learning.rollout_learner import RolloutLearner
from dva.policies import RunningNormalizer
from dva.sim import State

ENVS = 8
"""Environments of all processes, beside those of a guide."""
SMALL = {**VALUES, "max_grad_norm": 1e9}
"""Values of all algorithms here; a gradient that was clipped would hide its length."""
GUIDED = {
    "guide": True, "guide_envs": 4, "imitation_steps": 2, "imitation_batch": 12,
    "replay_images": 90,
}  # fmt: skip


class SharedPointMass(PointMass):
    """A process' share of 8 point masses, which start as those of one process do."""

    def __init__(self, group: Group, observe: str = "pixels", blind_envs: int = 0) -> None:
        size = group.size
        super().__init__(ENVS // size, observe=(observe,), blind_envs=blind_envs // size)
        self.group, self.every = group, ENVS + blind_envs

    def reset(self) -> Any:
        super().reset()
        self.steps = torch.arange(self.every)[self.group.rows] % self.episode_length
        return self.observation

    def _start(self) -> State:
        drawn = 2.0 * torch.rand(self.every, 4, generator=self.generator) - 1.0
        own = drawn[self.group.rows]
        return State(own[:, :2], own[:, 2:])

    def state_dict(self) -> dict[str, Tensor]:
        joined = {name: self.group.gather(value) for name, value in self.tensors().items()}
        return {**joined, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        own = {name: state[name][self.group.rows] for name in self.tensors()}
        super().load_state_dict({**own, "generator": state["generator"]})


def make_dva(group: Group, observe: str = "pixels", **changes: Any) -> DVA:
    config = DvaConfig(**{**SMALL, **CRITIC, **changes})
    context = TrainingContext(20 * ENVS * config.horizon, group=group)
    env = SharedPointMass(group, observe, config.guide_envs if config.guide else 0)
    return DVA(env, config, context)


def make_shac(group: Group) -> SHAC:
    config = ShacConfig(**SMALL, **CRITIC)
    context = TrainingContext(20 * ENVS * config.horizon, group=group)
    return SHAC(SharedPointMass(group, "state"), config, context)


def make_ppo(group: Group, **changes: Any) -> PPO:
    config = PpoConfig(**SMALL, critic_hidden=(16,), **changes)
    context = TrainingContext(20 * ENVS * config.horizon, group=group)
    return PPO(SharedPointMass(group), config, context)


def iteration(algorithm: RolloutLearner) -> dict[str, Any]:
    """Runs an iteration; returns what it leaves, but for the networks.

    Adam's first steps divide a gradient by its own size, and with it what was rounded. Its moments
    say more.
    """
    metrics = without_times(algorithm.iterate())
    state = algorithm.state_dict().items()
    networks = ("policy.actor.", "critic.", "target_critic.")
    return {
        "metrics": metrics,
        "gradient": parameter_gradient(algorithm),
        "state": {name: value for name, value in state if not name.startswith(networks)},
    }


def dva_of_pixels(group: Group, folder: Path) -> Any:
    return iteration(make_dva(group, center_features=True, action_gradient_cap=1.0))


def dva_of_states(group: Group, folder: Path) -> Any:
    return iteration(make_dva(group, "state"))


def shac_of_states(group: Group, folder: Path) -> Any:
    return iteration(make_shac(group))


def ppo_of_pixels(group: Group, folder: Path) -> Any:
    """The minibatch is of all samples: smaller ones are of others in each process."""
    return iteration(make_ppo(group, epochs=1, minibatches=1, value_clip=0.1))


def ppo_in_parts(group: Group, folder: Path) -> Any:
    """Runs three iterations, the last of them by an algorithm that was loaded."""
    algorithm = make_ppo(group, epochs=2, minibatches=3)
    for _ in range(2):
        algorithm.iterate()
    continued = make_ppo(group, epochs=2, minibatches=3)
    continued.load_state_dict(algorithm.state_dict())
    rows = [without_times(x.iterate()) for x in (algorithm, continued)]
    return rows, algorithm.state_dict()


def action_gradient(group: Group, folder: Path) -> Any:
    algorithm = make_dva(group, action_gradient_cap=1.0)
    gradient, loss, _ = algorithm._finite_action_gradient(algorithm.rollout())
    # Each process counts its own environments in 1 / (N h).
    return group.gather(gradient, 1) / group.size, group.gather(loss) / group.size


def broken_environment(group: Group, folder: Path) -> Any:
    """The gradient of environment 3 is not finite: the second of process 1."""
    results = []
    for algorithm in (make_dva(group), make_shac(group)):
        if group.size == 1 or group.rank == 1:
            algorithm.env.broken = 3 // group.size  # type: ignore[attr-defined]
        results.append(iteration(algorithm))
    return results


class Huge:
    """An action gradient that is too large in every second environment: in process 1."""

    needs_graph = False
    recordable = True

    def __init__(self, group: Group) -> None:
        self.group = group

    def __call__(self, rollout: Any, env: Any, value: Any, discount: float) -> Any:
        size = torch.where(torch.arange(ENVS) % 2 == 1, 3e38, 1.0)[self.group.rows]
        return size[:, None].expand(5, -1, 2), torch.zeros(env.num_envs)


def nonfinite_update(group: Group, folder: Path) -> Any:
    algorithm = make_dva(group)
    algorithm.action_gradient = Huge(group)
    before = algorithm.actor_optimizer.state_dict() | algorithm.actor.state_dict()
    metrics = without_times(algorithm.iterate())
    after = algorithm.actor_optimizer.state_dict() | algorithm.actor.state_dict()
    return metrics, all(torch.equal(before[name], after[name]) for name in before)


def normalizer(group: Group, folder: Path) -> Any:
    states = 3.0 + torch.randn(2, 5, ENVS, 4, generator=torch.Generator().manual_seed(0))
    states[1, 2:, 1] = torch.nan  # in process 1
    normalizer = RunningNormalizer(4)
    for part in states:
        normalizer.update(part[:, group.rows], group)
    return normalizer.state_dict()


def saved(group: Group, folder: Path) -> Any:
    """Saves after two iterations; returns the metrics of two more."""
    algorithm = make_dva(group)
    for _ in range(2):
        algorithm.iterate()
    state = algorithm.state_dict()
    return state, [without_times(algorithm.iterate()) for _ in range(2)]


def continued(group: Group, folder: Path) -> Any:
    """Continues two iterations that one process saved."""
    algorithm = make_dva(group)
    algorithm.load_state_dict(torch.load(folder / "saved.pt"))
    return [without_times(algorithm.iterate()) for _ in range(2)]


def guided(group: Group, folder: Path) -> Any:
    """Runs two iterations with a guide; saves its replay."""
    algorithm = make_dva(group, **GUIDED)
    assert algorithm.guide is not None
    metrics = without_times(algorithm.iterate())
    gradient = [p.grad.flatten() for p in algorithm.guide.actor.parameters() if p.grad is not None]
    algorithm.iterate()
    own = folder / f"replay-of-{group.size}"
    if group.rank == 0:
        own.mkdir()
    marker = algorithm.guide.replay.save(own, [])
    return {
        "metrics": metrics,
        "gradient": torch.cat(gradient),
        "state": algorithm.state_dict(),
        "marker": marker,
    }


def replayed(group: Group, folder: Path) -> Any:
    """Loads the replay that one process saved, and saves it again."""
    algorithm = make_dva(group, **GUIDED)
    assert algorithm.guide is not None
    replay = algorithm.guide.replay
    marker = torch.load(folder / "marker.pt")
    replay.load(folder / "replay-of-1", marker)
    replay._pieces = []  # so that all of it is written
    again = folder / "replay-again"
    if group.rank == 0:
        again.mkdir()
    return replay.save(again, [])["count"]


def restarts(group: Group, folder: Path) -> Any:
    """Steps Hoppers whose episodes end at different times."""
    env = dva.make(
        "hopper", ENVS // group.size, device="cpu", observe="state", threads=1, group=group
    )
    env.reset(seed=3)
    begun = env.episode_length - 2 - 2 * torch.arange(ENVS)
    env.put_tensors({**env.tensors(), "episode.step": begun[group.rows]})
    torch.manual_seed(0)
    ended, states = [], []
    with torch.no_grad():
        for _ in range(20):
            action = 2.0 * torch.rand(ENVS, env.action_size) - 1.0
            step = env.step(action[group.rows])
            ended.append(group.gather(step[2] | step[3]))
            states.append(group.gather(step[0]["state"]))
    return torch.stack(ended), torch.stack(states), env.state_dict()


CASES: dict[str, Callable[[Group, Path], Any]] = {
    case.__name__: case
    for case in (
        dva_of_pixels, dva_of_states, shac_of_states, action_gradient, broken_environment,
        nonfinite_update, normalizer, saved, continued, guided, replayed, restarts, ppo_of_pixels,
        ppo_in_parts,
    )
}  # fmt: skip


def run_in_two(folder: Path) -> list[dict[str, Any]]:
    """Runs all cases in two processes; returns what each of them found."""
    # Imports take longer than the cases: one process does them, and forks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dva.learning"])
    processes = [context.Process(target=_run, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return [torch.load(folder / f"found-{rank}.pt") for rank in range(2)]


def _run(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    group = Processes(rank, 2, rank, 2)
    found = {name: case(group, folder) for name, case in CASES.items()}
    torch.save(found, folder / f"found-{rank}.pt")
    group.leave()
