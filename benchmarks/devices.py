"""Compares a GPU's physics, gradients and pictures with a CPU's, through a file.

    python benchmarks/devices.py --write cpu.pt                     # where there is a CPU
    python benchmarks/devices.py --check cpu.pt --device cuda       # where there is a GPU

The two may be different machines. Each task is stepped from its own starts with fixed actions; one
row per task: how far states, gradients of the actions and pictures are from the file's. States and
gradients are compared by the norm of the difference as a share of the norm; the median over
environments and the largest, since a contact may begin a substep earlier on one device. Of pictures
it is the share of values that differ by more than 2 of 255.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _results import add_output_flags, report
from dva import tasks
from dva.sensors import Camera
from dva.sim import WarpSimulator, load_model


def compute(name: str, args: argparse.Namespace) -> dict[str, Tensor]:
    """Steps a task, differentiates a sum of its states by the actions, and draws its starts."""
    task = tasks.get(name)
    model = load_model(task.mjcf, inertia=task.inertia)
    sim = WarpSimulator(
        model, args.num_envs, device=args.device, control_dt=task.control_dt,
        substeps=task.substeps, mass_matrix_interval=task.mass_matrix_interval,
    )  # fmt: skip
    cpu = torch.Generator().manual_seed(0)
    joint_q, joint_qd = task.start(args.num_envs, cpu, torch.device("cpu"))
    drawn = torch.rand(args.steps, args.num_envs, model.num_actions, generator=cpu)
    actions = (2 * drawn - 1).to(args.device).requires_grad_()
    state = sim.new_state(joint_q.to(args.device), joint_qd.to(args.device))
    states = []
    for action in actions:
        state = sim.step(state, action)
        states.append(torch.cat([state.joint_q, state.joint_qd], 1))
    (gradient,) = torch.autograd.grad(torch.stack(states).sum(), actions)
    camera = Camera(model, task.view, task.scene, args.num_envs, 84, device=args.device)
    return {
        "states": torch.stack(states).detach().cpu(),
        "gradient": gradient.cpu(),
        "pictures": camera.render(joint_q.to(args.device))["rgb"].cpu(),
    }


def compare(name: str, found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Any]:
    """Says how far two devices' results are from each other."""
    row: dict[str, Any] = {"task": name}
    for key in ("states", "gradient"):
        apart = (found[key] - expected[key]).norm(dim=(0, 2)) / expected[key].norm(dim=(0, 2))
        row[f"{key}_median"] = float(f"{apart.median():.2g}")
        row[f"{key}_largest"] = float(f"{apart.max():.2g}")
    differs = (found["pictures"].int() - expected["pictures"].int()).abs() > 2
    row["pictures_differing"] = float(f"{differs.float().mean():.2g}")
    return row


def main() -> None:
    """Parses the command line, and writes or compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="default: all of the package")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--check", type=Path, metavar="FILE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    add_output_flags(parser)
    args = parser.parse_args()
    if (args.write is None) == (args.check is None):
        parser.error("Give --write FILE or --check FILE.")
    names = args.tasks or tasks.names()
    results = {name: compute(name, args) for name in names}
    if args.write is not None:
        torch.save(results, args.write)
        return
    expected = torch.load(args.check, weights_only=True)
    report([compare(n, results[n], expected[n]) for n in names], args.json, args.save)


if __name__ == "__main__":
    main()
