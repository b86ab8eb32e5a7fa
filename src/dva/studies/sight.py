"""How much policies see while D.Va trains them, and what they look at in the end.

Visual feedback is the standard deviation of the mean action before tanh over a rollout's images. A
policy for which it is a hundredth of the exploration noise or less acts as if it were blind. It is
followed for D.Va as published, with its images' features centred and its action gradients capped,
and with the guide on top. The learning rates are those of the beginning of a whole training.

What a policy looks at is the derivative of its action by each pixel.

Source: D.Va, algorithm 1, is what is called published; the other variants are our own.
"""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.envs.frames import newest
from dva.policies import ActorPolicy
from dva.runs.health import BLIND
from dva.studies.building import build_first_order
from dva.studies.curves import end_mean
from dva.studies.parts import AS_PUBLISHED, SWITCHED_OFF, PartsConfig
from dva.studies.report import Report, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "saliency", "summary"]

VARIANTS: dict[str, dict[str, Any]] = {
    "published": AS_PUBLISHED,
    "centred, capped": SWITCHED_OFF["guide"],
    "guided": {},
}
"""What is changed of the preset's values."""
IMAGES = 2
"""Images of which is shown what policies look at."""
CURVES = {"visual_feedback": "visual feedback", "reward": "reward of a step"}


@dataclasses.dataclass
class Config(PartsConfig):
    """Follow how much policies see, and show what they look at."""

    task: str = "anymal"
    """Task to train on, from pixels."""
    iterations: int | None = None
    """Training iterations; None: 60, with --full 500."""

    def __post_init__(self) -> None:
        super().__post_init__()
        many = self.iterations
        require("iterations", many, many is None or many >= 1, "1 or more, or None")


@dataclasses.dataclass
class _Sight:
    """A trained policy, and the last images that it acted on."""

    row: dict[str, Any]
    policy: ActorPolicy
    images: Tensor


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Trains every variant with every seed; returns a row for each, and what two of the policies
    look at: the one that sees most in the end, and the one that sees least."""
    rows: list[dict[str, Any]] = []
    found = []
    for variant, changes in VARIANTS.items():
        for seed in config.seeds_to_train:
            found.append(_train(config, variant, seed, changes))
            add_row(rows, found[-1].row, report)
    most, least = (
        choose(found, key=lambda sight: sight.row["final_feedback"]) for choose in (max, min)
    )
    (entry,) = most.policy.observation_spec.images
    pictures = newest(most.images, entry).movedim(1, -1).cpu().numpy()
    looks = {"most": _look(most, most.images), "least": _look(least, most.images)}
    return {"rows": rows, "images": [_to_text(picture) for picture in pictures], "looks": looks}


def _train(config: Config, variant: str, seed: int, changes: dict[str, Any]) -> _Sight:
    described = config.configure(config.task, seed=seed, **changes)
    with build_first_order(described) as algorithm:
        iterations = config.iterations or (500 if config.full else 60)
        metrics = [algorithm.iterate() for _ in range(iterations)]
        curves = {
            name: [row[name] for row in metrics] for name in (*CURVES, "action_std", "return")
        }
        ends = {
            f"final_{short}": end_mean([x for x in curves[name] if x is not None])
            for short, name in (
                ("feedback", "visual_feedback"), ("reward", "reward"), ("noise", "action_std"),
            )
        }  # fmt: skip
        row = {"task": config.task, "variant": variant, "seed": seed, **ends, **curves}
        policy = algorithm.policy
        exact = ActorPolicy.rebuild(
            {**policy.description(), "precision": "float32"}, algorithm.device
        )
        exact.load_state_dict(policy.state_dict())
        # A guide, if there is one, acts in the first environments.
        images = algorithm.env.observation["pixels"][-IMAGES:].detach().clone()
        return _Sight(row, exact, images)


def saliency(policy: ActorPolicy, images: Tensor) -> Tensor:
    """Measures how much a policy's mean action before tanh depends on each pixel.

    Args:
        policy: sees these images and nothing else, in float32 arithmetic.
        images: stacked (B, C, H, W).

    Returns:
        The norm of the derivative by a pixel's C values, all A actions together, in actions for the
        whole range of a value: (B, H, W).
    """
    (entry,) = policy.observation_spec.images
    pixels = images.float().requires_grad_()
    mean = policy.actor({entry.name: pixels})[0]
    squares = torch.zeros_like(pixels)
    for action in mean.sum(0):
        (by_pixels,) = torch.autograd.grad(action, pixels, retain_graph=True)
        squares += by_pixels.square()
    return (entry.high - entry.low) * squares.sum(1).sqrt()


def _look(sight: _Sight, images: Tensor) -> dict[str, Any]:
    """Returns a policy's saliency maps of images, each as shares of its largest value."""
    maps = saliency(sight.policy, images).cpu().numpy()
    largest = [float(one.max()) for one in maps]
    shares = [one / top if top > 0.0 else one for one, top in zip(maps, largest, strict=True)]
    return {
        "variant": sight.row["variant"],
        "seed": sight.row["seed"],
        "largest": largest,
        "maps": [_to_text((255 * share).round().astype(np.uint8)) for share in shares],
    }


def _to_text(image: np.ndarray) -> list[str]:
    """Writes a picture of bytes (H, W) or (H, W, 3) as hexadecimal digits, a text for each row."""
    return [row.tobytes().hex() for row in image]


def _from_text(rows: list[str], *channels: int) -> np.ndarray:
    """Reads what `_to_text` wrote: (H, W, *channels)."""
    joined = np.frombuffer(bytes.fromhex("".join(rows)), np.uint8)
    return joined.reshape(len(rows), -1, *channels)


def draw(result: dict[str, Any]) -> Any:
    """Draws the curves on the left, and on the right images with what both policies look at."""
    figure, axes = new_figure(4, IMAGES)
    for panel, (name, label) in zip(axes[:, 0], CURVES.items(), strict=True):
        for index, variant in enumerate(VARIANTS):
            mine = [row for row in result["rows"] if row["variant"] == variant]
            for row in mine:
                values = np.array(row[name], float)
                title = variant if row is mine[0] else None
                panel.plot(range(1, len(values) + 1), values, f"C{index}", lw=1, label=title)
        panel.set_xlabel("iteration")
        panel.set_ylabel(label)
    axes[0, 0].set_yscale("log")
    blind = BLIND * _noise(result)
    axes[0, 0].axhline(blind, color="grey", ls="--", label=f"{BLIND:g} of the noise: blind")
    axes[0, 0].legend(fontsize=7)
    axes[0, 0].set_title(result["rows"][0]["task"])
    for index, (panels, image) in enumerate(zip(axes[:, 1:], result["images"], strict=True)):
        panels[0].imshow(_from_text(image, 3))
        panels[0].set_title("image")
        for panel, (kind, look) in zip(panels[1:], result["looks"].items(), strict=True):
            panel.imshow(_from_text(look["maps"][index]), cmap="magma")
            panel.set_title(
                f"sees {kind}: {look['variant']}, seed {look['seed']}\n"
                f"(brightest {look['largest'][index]:.2g} actions)",
                fontsize=10,
            )
        for panel in panels:
            panel.axis("off")
    return figure


def _noise(result: dict[str, Any]) -> float:
    return float(np.mean([row["final_noise"] for row in result["rows"]]))


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines how much each variant sees in the end, and what it earns."""
    lines = []
    for variant in VARIANTS:
        rows = [row for row in result["rows"] if row["variant"] == variant]
        shares = [row["final_feedback"] / row["final_noise"] for row in rows]
        rewards = [row["final_reward"] for row in rows]
        lines.append(
            f"{rows[0]['task']:9} {variant:15} visual feedback "
            f"{_range([row['final_feedback'] for row in rows])}, "
            f"{_range(shares)} of the noise; blind in {sum(x < BLIND for x in shares)} of "
            f"{len(rows)}; reward of a step {_range(rewards)}"
        )
    return lines


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"
