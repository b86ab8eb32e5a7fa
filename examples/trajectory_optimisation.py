"""Swings up a pole by gradient descent on the actions alone: no policy, no camera, no learning.

    python trajectory_optimisation.py                      # half a minute on one core
    python trajectory_optimisation.py --video swing-up.mp4

Many sequences of forces are improved side by side, one for each simulated cart: the simulator's
gradient says how every force of a sequence should have been different. The best one is kept.
"""

import argparse

import torch
from torch import Tensor

from dva import tasks
from dva.runs.video import VideoWriter
from dva.sensors import Camera
from dva.sim import State, WarpSimulator, load_model

TASK = tasks.get("cartpole")


def roll_out(simulator: WarpSimulator, forces: Tensor) -> tuple[Tensor, list[State]]:
    """Applies forces (T, N, 1) to hanging poles.

    Returns:
        Mean reward of a step (N,), with the graph to the forces, and the T states.
    """
    model, n = simulator.model, simulator.num_envs
    start = torch.tensor(model.initial_q, dtype=torch.float32).repeat(n, 1)
    state = simulator.new_state(start, torch.zeros(n, model.num_dofs))
    rewards, states = [], []
    for force in forces:
        state = simulator.step(state, torch.tanh(force))
        rewards.append(TASK.reward(state.joint_q, state.joint_qd, force))
        states.append(state)
    return torch.stack(rewards).mean(0), states


def optimise(steps: int = 150, n: int = 16, iterations: int = 100, seed: int = 0) -> Tensor:
    """Improves n sequences of `steps` forces; returns the best (T, 1), before tanh."""
    model = load_model(TASK.mjcf, inertia=TASK.inertia)
    simulator = WarpSimulator(
        model, n, control_dt=TASK.control_dt, substeps=TASK.substeps, threads=1,
        mass_matrix_interval=TASK.mass_matrix_interval,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    # Forces that are held for a while move the pole more than ones that change in every step.
    coarse = 0.5 * torch.randn(steps // 10 + 1, n, 1, generator=generator)
    forces = coarse.repeat_interleave(10, 0)[:steps].requires_grad_()
    optimizer = torch.optim.Adam([forces], lr=0.1)
    for iteration in range(iterations):
        reward, _ = roll_out(simulator, forces)
        optimizer.zero_grad()
        (-reward.sum()).backward()
        torch.nn.utils.clip_grad_norm_([forces], 1.0)
        optimizer.step()
        if iteration % 20 == 0 or iteration == iterations - 1:
            print(f"iteration {iteration:4d}  reward a step: best {reward.max():.2f} of 10")
    with torch.no_grad():
        reward, states = roll_out(simulator, forces)
    best = int(reward.argmax())
    angle = states[-1].joint_q[best, 1]
    tilt = torch.rad2deg(torch.atan2(angle.sin(), angle.cos()))
    print(f"the pole hung down; it ends {tilt.abs():.0f} degrees from upright")
    return forces.detach()[:, best]


def film(forces: Tensor, path: str) -> None:
    """Writes a film of one cart to an MP4 file."""
    model = load_model(TASK.mjcf, inertia=TASK.inertia)
    simulator = WarpSimulator(
        model, 1, control_dt=TASK.control_dt, substeps=TASK.substeps, threads=1
    )
    camera = Camera(model, TASK.view, TASK.scene, 1, image_size=160)
    with torch.no_grad(), VideoWriter(path, fps=60) as writer:
        for state in roll_out(simulator, forces[:, None])[1]:
            writer.add(camera.render(state.joint_q)["rgb"][0])


def main(arguments: list[str] | None = None) -> Tensor:
    """Runs the program; returns the best forces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter sequences")
    parser.add_argument("--video", metavar="FILE.mp4", help="film the best sequence")
    flags = parser.parse_args(arguments)
    forces = optimise(steps=90, n=8, iterations=40) if flags.quick else optimise()
    if flags.video:
        film(forces, flags.video)
        print(f"film  {flags.video}")
    return forces


if __name__ == "__main__":
    main()
