"""Times the networks as they are and through torch.compile.

    python benchmarks/compiled.py hopper
    python benchmarks/compiled.py hopper --preset paper --device cuda

One row per piece of an iteration: acting (the actor's forward pass of the images that pass it
together), regression (forward and backward of a micro-batch), critic (forward and backward of a
minibatch); medians of interleaved repeats, and the seconds that compiling took.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from _results import add_output_flags, report, synchronize
from dva import tasks
from dva.learning import DVA
from dva.runs import build, default_config


def measure(task: str, preset: str | None, device: str, repeats: int) -> list[dict[str, Any]]:
    """Gives the rows of the table, measured on one CPU thread or on the GPU."""
    config = default_config(task, "dva", preset, device=device, threads=1)
    num_envs = config.env.num_envs
    rows = []
    with build(config) as built:
        algorithm = built.algorithm
        assert isinstance(algorithm, DVA)
        together = 8 if algorithm.device.type == "cpu" else num_envs
        batch = num_envs * config.algorithm.horizon // config.algorithm.critic_minibatches
        pixels = built.env.reset()["pixels"]
        many = pixels.repeat(-(-algorithm.micro_batch // len(pixels)), 1, 1, 1)
        states = torch.randn(batch, built.env.state_size, device=algorithm.device)
        weights = algorithm.actor.cast_weights()
        parameters = [p for p in algorithm.actor.parameters() if p is not algorithm.actor.log_std]

        def act(actor: Any) -> Callable[[], Any]:
            return torch.no_grad()(lambda: actor({"pixels": pixels[:together]}, weights))

        def regress(actor: Any) -> Callable[[], Any]:
            images = {"pixels": many[: algorithm.micro_batch]}
            return lambda: torch.autograd.grad(actor(images)[0].sum(), parameters)

        def fit(critic: Any) -> Callable[[], Any]:
            own = list(algorithm.critic.parameters())
            return lambda: torch.autograd.grad(critic(states).square().mean(), own)

        for piece, module, make in (
            ("acting", algorithm.actor, act),
            ("regression", algorithm.actor, regress),
            ("critic", algorithm.critic, fit),
        ):
            plain, compiled = make(module), make(torch.compile(module))
            plain()
            began = time.perf_counter()
            compiled()
            compiling = time.perf_counter() - began
            pair = (plain, compiled)
            times = [[_seconds(each, algorithm.device) for each in pair] for _ in range(repeats)]
            one, other = (statistics.median(column) for column in zip(*times, strict=True))
            rows.append(
                {
                    "task": task,
                    "preset": config.preset,
                    "device": str(algorithm.device),
                    "piece": piece,
                    "ms": round(one * 1e3, 3),
                    "ms_compiled": round(other * 1e3, 3),
                    "ratio": round(one / other, 2),
                    "compiling_s": round(compiling, 1),
                }  # fmt: skip
            )
    return rows


def _seconds(function: Callable[[], Any], device: torch.device, count: int = 10) -> float:
    """Times one call, as the mean of a few."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        function()
    synchronize(device)
    return (time.perf_counter() - began) / count


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("task", help=f"one of {', '.join(tasks.names())}")
    parser.add_argument("--preset", help="default: the device's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=30)
    add_output_flags(parser)
    args = parser.parse_args()
    report(measure(args.task, args.preset, args.device, args.repeats), args.json, args.save)


if __name__ == "__main__":
    main()
