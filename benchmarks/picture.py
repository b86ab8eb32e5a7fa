"""Draws trained robots, beside each what its policy sees, as a looping picture for the README.

    python benchmarks/picture.py runs/hopper runs/cheetah --output docs/images/robots.webp

Each run is played by its policy, without noise, in four environments; the one that earns most in
the frames that are shown is taken. Left is the robot, drawn large; right the newest of the
pictures that the policy sees, pixel by pixel.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dva import runs

ENVS = 4
LARGEST = 3_000_000
"""Bytes; a README should load quickly."""
GAP = 6
"""Pixels between pictures."""


@dataclass
class Settings:
    """What is shown of each run."""

    frames: int
    """Number of pictures."""
    every: int
    """Control steps from one to the next."""
    skip: int
    """Control steps before the first: the robot gets going."""
    size: int
    """Side of a picture [pixels]."""
    checkpoint: str


@torch.no_grad()
def play(run: str, settings: Settings) -> Tensor:
    """Plays a run's policy; returns pictures uint8 (frames, 3, size, 2 size + GAP).

    Raises:
        UsageError: there is no such run, or its policy cannot be loaded.
        ValueError: its policy sees no pictures.
    """
    found = runs.Run.open(run)
    policy = runs.load_policy(found, settings.checkpoint, "cpu")
    images = policy.observation_spec.images
    if not images:
        raise ValueError(f"{run}: its policy sees no pictures. Give a run from pixels.")
    env = runs.make_env(found, ENVS, "cpu")
    observation, memory = env.reset(seed=0), policy.initial_state(ENVS)
    robots, seen, earned = [], [], torch.zeros(ENVS)
    for step in range(settings.skip + settings.frames * settings.every):
        shown = step >= settings.skip
        if shown and (step - settings.skip) % settings.every == 0:
            robots.append(env.render(image_size=settings.size))
            newest = observation[images[0].name][:, -3:].float()
            seen.append(F.interpolate(newest, size=settings.size, mode="nearest").byte())
        action, memory = policy.act(observation, memory)
        observation, reward, terminated, truncated, _ = env.step(action)
        done = terminated | truncated
        memory = policy.reset(memory, done)
        earned += shown * (reward - 1e6 * done)  # a loop shall have no fall in it
    env.close()
    best = int(earned.argmax())
    gap = torch.full((settings.frames, 3, settings.size, GAP), 255, dtype=torch.uint8)
    left, right = (torch.stack(frames)[:, best] for frames in (robots, seen))
    print(f"{run}: reward {earned[best].item():.0f} in the frames shown", file=sys.stderr)
    return torch.cat([left, gap, right], dim=-1)


def arrange(cells: list[Tensor], columns: int) -> Tensor:
    """Puts cells (F, 3, H, W) side by side in rows; returns uint8 (F, 3, H', W')."""
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    blank = torch.full_like(cells[0], 255)
    lines = []
    for row in rows:
        parts = [*row, *[blank] * (columns - len(row))]
        spaced = [F.pad(part, (0, 2 * GAP, 0, 2 * GAP), value=255) for part in parts]
        lines.append(torch.cat(spaced, dim=-1))
    return torch.cat(lines, dim=-2)[..., : -2 * GAP, : -2 * GAP]


def save(frames: Tensor, path: Path, milliseconds: float, quality: int) -> int:
    """Writes pictures (F, 3, H, W) as one animated WebP or GIF; returns its bytes."""
    images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    first, *others = images
    first.save(
        path, save_all=True, append_images=others, duration=round(milliseconds), loop=0,
        quality=quality, method=6,
    )  # fmt: skip
    return path.stat().st_size


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.webp")
    parser.add_argument("--columns", type=int, default=2, help="runs in a row")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of the loop")
    parser.add_argument("--every", type=int, default=3, help="control steps from frame to frame")
    parser.add_argument("--skip", type=int, default=60, help="control steps before the first frame")
    parser.add_argument("--size", type=int, default=200, help="side of a picture in pixels")
    parser.add_argument("--quality", type=int, default=70, help="of WebP, 0 to 100")
    parser.add_argument("--checkpoint", choices=("latest", "best"), default="latest")
    flags = parser.parse_args(arguments)
    frames = max(1, round(flags.seconds * 60 / flags.every))
    settings = Settings(frames, flags.every, flags.skip, flags.size, flags.checkpoint)
    try:
        cells = [play(run, settings) for run in flags.runs]
    except (runs.UsageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = save(
        arrange(cells, flags.columns), flags.output, 1000 * flags.every / 60, flags.quality
    )
    print(f"{flags.output}: {size / 1e6:.2f} MB, {frames} frames")
    if size > LARGEST:
        print("More than 3 MB: take fewer --seconds, a smaller --size or a lower --quality.")
    return 1 if size > LARGEST else 0


if __name__ == "__main__":
    sys.exit(main())
