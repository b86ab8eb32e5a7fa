"""Compares a simulator's gradient with finite differences."""

from collections.abc import Callable

import torch

from dva.sim import Model, State, WarpSimulator

__all__ = ["GRADIENT_TOLERANCE", "simulator_gradient_error"]

GRADIENT_TOLERANCE = 1e-5
"""Largest relative difference between adjoint and finite differences, in float64."""


def simulator_gradient_error(
    model: Model,
    start_q: torch.Tensor,
    start_qd: torch.Tensor,
    control_dt: float,
    substeps: int,
    mass_matrix_interval: int,
    steps: int,
    generator: torch.Generator | None = None,
) -> float:
    """Compares the simulator's gradient with central differences, on a CPU in float64.

    The loss is a random linear form of the state after `steps` control steps; it is differentiated
    in every action and in the starting velocities.

    Args:
        model: the robot.
        start_q: (N, nq) float64.
        start_qd: (N, nd) float64.
        control_dt: seconds of a control step.
        substeps: of a control step.
        mass_matrix_interval: substeps that share a mass matrix.
        steps: control steps.
        generator: of the linear form and the actions.

    Returns:
        Largest difference over the largest gradient entry, dimensionless.
    """
    generator = generator or torch.Generator().manual_seed(0)
    num_envs = start_q.shape[0]
    simulator = WarpSimulator(
        model,
        num_envs,
        device="cpu",
        dtype=torch.float64,
        control_dt=control_dt,
        substeps=substeps,
        mass_matrix_interval=mass_matrix_interval,
        threads=1,
    )
    weights = torch.randn(
        num_envs, model.num_coords + model.num_dofs, generator=generator, dtype=torch.float64
    )
    actions = 0.6 * torch.rand(
        steps, num_envs, model.num_actions, generator=generator, dtype=torch.float64
    )

    def loss(actions: torch.Tensor, joint_qd: torch.Tensor) -> torch.Tensor:
        state = State(start_q, joint_qd)
        for action in actions:
            state = simulator.step(state, action)
        return (torch.cat([state.joint_q, state.joint_qd], 1) * weights).sum()

    inputs = (actions.requires_grad_(), start_qd.clone().requires_grad_())
    adjoint = torch.autograd.grad(loss(*inputs), inputs)
    difference = _central_differences(loss, tuple(value.detach() for value in inputs))
    return max(
        ((a - d).abs().max() / d.abs().max().clamp_min(1e-12)).item()
        for a, d in zip(adjoint, difference, strict=True)
        if a.numel()
    )


def _central_differences(
    loss: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...], step: float = 1e-6
) -> list[torch.Tensor]:
    """Differentiates a scalar function entry by entry."""
    gradients = []
    with torch.no_grad():
        for which, values in enumerate(inputs):
            gradient = torch.zeros_like(values)
            for index in range(values.numel()):
                sides = []
                for sign in (1.0, -1.0):
                    moved = values.clone()
                    moved.view(-1)[index] += sign * step
                    sides.append(loss(*inputs[:which], moved, *inputs[which + 1 :]).item())
                gradient.view(-1)[index] = (sides[0] - sides[1]) / (2 * step)
            gradients.append(gradient)
    return gradients
