"""Builds environment and algorithm from a configuration: the one place that does."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from dva import learning
from dva.compute.device import resolve_device
from dva.compute.distributed import ALONE, Group
from dva.compute.errors import UsageError, usage_errors
from dva.compute.random_streams import stream_seed
from dva.compute.threads import use_threads
from dva.envs import VectorEnv, make
from dva.learning import Algorithm, TrainingContext
from dva.runs.config import TrainConfig
from dva.runs.expert import Expert, load_expert
from dva.runs.run import Run

__all__ = [
    "Built",
    "blind_envs",
    "build",
    "build_algorithm",
    "build_env",
    "memory_errors",
    "require_group",
    "threads_inside",
    "threads_of",
    "training_context",
]


@dataclass(frozen=True)
class Built:
    """An algorithm with its environment."""

    env: VectorEnv
    algorithm: Any
    """An `Algorithm`; its own class is known to studies only."""
    context: TrainingContext
    """What the algorithm was told."""
    expert: Expert | None = None
    """Whose policy the algorithm imitates, if it does."""

    @property
    def threads(self) -> int | None:
        """CPU threads that both use; None on a GPU."""
        return self.context.threads


@contextmanager
def build(config: TrainConfig, group: Group = ALONE, student: Run | None = None) -> Iterator[Built]:
    """Builds what a configuration describes, inside which it is to be used; closes the environment.

    Args:
        config: what to build.
        group: the processes that train together; each builds its share of the environments.
        student: the run that is to continue, if there is one: see `load_expert`.

    Raises:
        UsageError: a value is not allowed.
    """
    require_group(config, group)
    with threads_of(config, group=group) as threads:
        expert = load_expert(config, threads, student)
        env = build_env(config, threads=threads, training=True, group=group)
        try:
            context = training_context(config, threads, expert, group)
            yield Built(env, build_algorithm(config, env, context), context, expert)
        finally:
            env.close()


def require_group(config: TrainConfig, group: Group) -> None:
    """Makes sure that the processes of a group can train a configuration together.

    Raises:
        UsageError: the algorithm cannot, or environments or devices cannot be shared.
    """
    if group.size > 1 and not learning.get(config.algo).distributed:
        able = [name for name in learning.names() if learning.get(name).distributed]
        raise UsageError(
            f"Algorithm {config.algo} trains in one process, and these are {group.size}. Start it "
            f"without torchrun, or take one that trains in several: {', '.join(able)}."
        )
    with usage_errors():
        group.share("num_envs", config.env.num_envs)
        group.share("guide_envs", blind_envs(config))
        group.device(config.run.device)


@contextmanager
def threads_of(
    config: TrainConfig,
    device: str | None = None,
    group: Group = ALONE,
    threads: int | None = None,
) -> Iterator[int | None]:
    """Shares a CPU's threads as the configuration's algorithm wants it; see `use_threads`.

    Args:
        device: "auto", "cpu" or "cuda"; None: what `config` asks for.
        group: processes that share the machine.
        threads: CPU threads; None: what `config` asks for.

    Yields:
        Number of threads; None on a GPU.

    Raises:
        UsageError: there is no such device, or `threads` is less than 1.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; it must be 1 or more.")
    with usage_errors():
        found = resolve_device(group.device(config.run.device if device is None else device))
    inside = threads_inside(config)
    wanted = group.threads(config.run.threads if threads is None else threads)
    with use_threads(found, wanted, inside_operations=inside) as used:
        yield used


def build_env(
    config: TrainConfig,
    num_envs: int | None = None,
    device: str | None = None,
    seed: int | None = None,
    threads: int | None = None,
    training: bool = False,
    group: Group = ALONE,
) -> VectorEnv:
    """Builds the environments of a configuration, for training and for evaluation alike.

    Args:
        config: names the task, what a policy observes, and the CPU threads, if no others are given.
        num_envs: number of environments; None: what `config` asks for.
        device: "auto", "cpu" or "cuda"; None: what `config` asks for.
        seed: of the starts, until a reset gives another; None: the stream "starts" of the
            configuration's seed.
        threads: CPU threads; None: what `config` asks for.
        training: whether the algorithm's own wishes count: final observations, and environments
            without sensors, which are added.
        group: processes that share the environments; each builds as many.

    Raises:
        UsageError: a value is not allowed, or this machine has no such device.
    """
    env, run = config.env, config.run
    with usage_errors():
        return make(
            env.task,
            num_envs=group.share("num_envs", env.num_envs if num_envs is None else num_envs),
            device=group.device(run.device if device is None else device),
            seed=stream_seed(run.seed, "starts") if seed is None else seed,
            observe=env.observe,
            image_size=env.image_size,
            frame_stack=env.frame_stack,
            camera=env.camera,
            image_gradient=_image_gradient(config),
            simulator=env.simulator,
            final_observations=training and learning.get(config.algo).final_observations,
            state_storage=env.state_storage,
            threads=run.threads if threads is None else threads,
            capture=run.cuda_graphs,
            blind_envs=group.share("guide_envs", blind_envs(config)) if training else 0,
            group=group,
        )


def blind_envs(config: TrainConfig) -> int:
    """Returns how many environments without sensors the algorithm adds to those configured."""
    wish = learning.get(config.algo).blind_envs
    return 0 if wish is None else wish(config.algorithm)


def training_context(
    config: TrainConfig,
    threads: int | None,
    expert: Expert | None = None,
    group: Group = ALONE,
) -> TrainingContext:
    """Returns what a configuration tells its algorithm.

    Args:
        threads: CPU threads for work side by side; None leaves parallelism to torch.
        expert: the one that `load_expert` found for it.
        group: the processes that train together.
    """
    run, policy = config.run, None if expert is None else expert.policy
    return TrainingContext(run.env_steps, run.seed, threads, run.cuda_graphs, policy, group)


def build_algorithm(config: TrainConfig, env: VectorEnv, context: TrainingContext) -> Algorithm:
    """Builds the algorithm of a configuration for its environments, the same in all processes.

    Raises:
        UsageError: the two do not fit.
    """
    with usage_errors():
        algorithm = learning.get(config.algo).make(env, config.algorithm, context)
    if context.group.size > 1:  # machines may draw networks with other rounding
        state = algorithm.state_dict()
        for value in state.values():
            context.group.copy_from_first([value])
        algorithm.load_state_dict(state)
    return algorithm


def threads_inside(config: TrainConfig) -> bool:
    """Tells whether CPU threads work inside torch's operations: sums then depend on how many."""
    return learning.get(config.algo).threads_inside or _image_gradient(config)


@contextmanager
def memory_errors(config: TrainConfig) -> Iterator[None]:
    """Turns running out of memory into one line that says what to make smaller.

    Raises:
        UsageError: there was not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacking = isinstance(error, MemoryError | torch.OutOfMemoryError)
        # torch's allocator on a CPU has no error class of its own.
        if not lacking and "allocate memory" not in str(error):
            raise
        env = config.env
        fields = {field.name for field in dataclasses.fields(config.algorithm)}
        replay = ", a smaller --replay-images" if "replay_images" in fields else ""
        raise UsageError(
            f"{env.num_envs:,} environments with images of {env.image_size} pixels do not fit into "
            f"memory. Use a smaller --num-envs or --image-size{replay}, or --state-storage "
            "recompute."
        ) from error


def _image_gradient(config: TrainConfig) -> bool:
    """Whether the configuration asks for gradients through images."""
    return learning.get(config.algo).image_gradient and config.env.camera == "differentiable"
