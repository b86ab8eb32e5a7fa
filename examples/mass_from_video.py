"""Weighs a cart by looking at it: finds the mass with which the simulation looks like the video.

    python mass_from_video.py

The video shows a cart with a pole that is pushed by known forces. The gradient of the difference
of the pictures in the mass has two factors: how each pixel changes with the pose, which the
differentiable camera says, and how the pose changes with the mass. Our simulator differentiates
states and actions, not masses, so the second factor comes from two more carts, one a little
heavier and one a little lighter.
"""

import argparse
import dataclasses
import math

import torch
from torch import Tensor

from dva import tasks
from dva.sensors import DifferentiableCamera
from dva.sim import Model, WarpSimulator, load_model

TASK = tasks.get("cartpole")
CART = 0
"""The link of the cart."""
TRUE_MASS = 50.0
"""What the cart in the video weighs [kg]; the program does not use it but to film and to judge."""


def with_mass(model: Model, mass: float) -> Model:
    """Returns the robot with another mass of its cart, whose shape stays."""
    masses, inertias = model.link_mass.copy(), model.link_inertia.copy()
    inertias[CART] *= mass / masses[CART]
    masses[CART] = mass
    return dataclasses.replace(model, link_mass=masses, link_inertia=inertias)


def simulate(model: Model, forces: Tensor) -> Tensor:
    """Pushes a cart at rest with forces (T, 1); returns its poses (T, 2)."""
    simulator = WarpSimulator(
        model, 1, control_dt=TASK.control_dt, substeps=TASK.substeps, threads=1
    )
    start = torch.tensor(model.initial_q, dtype=torch.float32)[None]
    state = simulator.new_state(start, torch.zeros(1, model.num_dofs))
    poses = []
    with torch.no_grad():
        for force in forces:
            state = simulator.step(state, force[None])
            poses.append(state.joint_q[0])
    return torch.stack(poses)


def mass_gradient(video: Tensor, forces: Tensor, camera: DifferentiableCamera, log_mass: float):
    """Compares a simulation with the video.

    Args:
        video: (F, 3, H, W) pictures at evenly spaced control steps, in [0, 255].
        forces: (T, 1) actions in [-1, 1].
        camera: of F environments, one for each picture.
        log_mass: logarithm of the cart's mass [kg].

    Returns:
        Mean squared difference of the pictures, and its derivative in the logarithm of the mass.
    """
    model = load_model(TASK.mjcf, inertia=TASK.inertia)
    every = len(forces) // len(video)
    poses, heavier, lighter = (
        simulate(with_mass(model, math.exp(log_mass + change)), forces)[every - 1 :: every]
        for change in (0.0, 0.01, -0.01)
    )
    poses.requires_grad_()
    loss = ((camera.render(poses)["rgb"] - video) / 255.0).square().mean()
    (of_poses,) = torch.autograd.grad(loss, poses)
    return loss.item(), (of_poses * (heavier - lighter) / 0.02).sum().item()


def weigh(video: Tensor, forces: Tensor, guess: float, iterations: int) -> float:
    """Improves a guess of the mass [kg] by gradient descent; returns it."""
    model = load_model(TASK.mjcf, inertia=TASK.inertia)
    log_mass = torch.tensor(math.log(guess), requires_grad=True)  # never negative
    optimizer = torch.optim.Adam([log_mass], lr=0.1, betas=(0.7, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    camera = make_camera(model, len(video), video.shape[-1])
    for iteration in range(iterations):
        loss, slope = mass_gradient(video, forces, camera, log_mass.item())
        if iteration % 10 == 0:
            print(f"iteration {iteration:3d}  {log_mass.exp():6.2f} kg  difference {loss:.5f}")
        log_mass.grad = torch.tensor(slope)
        optimizer.step()
        schedule.step()
    return log_mass.exp().item()


def make_camera(model: Model, pictures: int, image_size: int) -> DifferentiableCamera:
    """Makes the camera; soft edges let carts that do not overlap yet see each other's pull."""
    return DifferentiableCamera(
        model, TASK.view, TASK.scene, pictures, image_size, threads=1, softness=3.0
    )


def main(arguments: list[str] | None = None) -> float:
    """Runs the program; returns the mass that was found [kg]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures and iterations")
    flags = parser.parse_args(arguments)
    steps, pictures, image_size, iterations = (40, 8, 48, 40) if flags.quick else (60, 12, 64, 60)
    forces = 0.3 * torch.sin(torch.arange(steps) * 0.2)[:, None]
    model = with_mass(load_model(TASK.mjcf, inertia=TASK.inertia), TRUE_MASS)
    every = steps // pictures
    poses = simulate(model, forces)[every - 1 :: every]
    video = make_camera(model, pictures, image_size).render(poses)["rgb"]
    found = weigh(video, forces, guess=20.0, iterations=iterations)
    print(f"found {found:.2f} kg; the cart in the video weighs {TRUE_MASS:.2f} kg")
    return found


if __name__ == "__main__":
    main()
