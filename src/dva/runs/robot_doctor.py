"""Checks of a robot's file: what is simulated, and how it compares with MuJoCo."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch

from dva import envs
from dva.compute.errors import UsageError
from dva.runs.checks import Check, Finding, one_line
from dva.runs.gradient_check import GRADIENT_TOLERANCE, simulator_gradient_error
from dva.sensors import Scene, View
from dva.sim import FREE, Model, State, WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import (
    acceleration_error,
    largest_mesh_shortfall,
    limp,
    mass_matrix_error,
    mechanical_energy,
    rest_coordinates,
    start_within_limits,
)
from dva.sim.mjcf.shapes import MESH_VERTICES
from dva.tasks import Task

__all__ = ["check_robot"]

CONTROL_DT = 1 / 60
SETTLING_STEPS = 120
"""Control steps that a dropped robot gets: two seconds."""
STEPS_OF_A_FALL = 6
"""Control steps after which it is still falling, if it started in the air."""
ACCELERATION_TOLERANCE = 1e-5
ENERGY_TOLERANCE = 0.01
"""Largest mechanical energy above that of the start, as a share of the largest fall. Springs and
tendons, whose energy is not in it, may give more."""
LEAST_FALL = 0.1
"""A fall counts as this high at least [m]: contacts in which a robot starts lift it a little."""


def check_robot(path: str | Path, ignore: Sequence[str] = ()) -> Iterator[Check]:
    """Runs every check of a robot's file, each in turn; a failed one does not stop those after it.

    Args:
        path: MJCF file.
        ignore: what the file asks for and is to be left out.

    Raises:
        UsageError: the file cannot be simulated at all; the text says what to change.
    """
    try:
        with warnings.catch_warnings(record=True) as ignored:
            warnings.simplefilter("always")
            model = load_model(path, ignore=ignore)
        needed = stable_substeps(model, CONTROL_DT)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    yield Check("import", True, _contents(model))
    for warning in ignored:
        yield Check("ignored", True, " ".join(str(warning.message).split()))
    yield Check("substeps", True, f"{needed} for a control step of 1/60 s")
    if meshes := largest_mesh_shortfall(model):
        yield Check("meshes", True, _meshes(*meshes))
    drop = cache(lambda: _drop(model, needed))
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("mass matrix", lambda: _masses(model), _REPORT),
        ("acceleration", lambda: _accelerations(model), _REPORT),
        (
            "rest",
            lambda: _rest(model, drop()),
            "Raise the substeps. If the energy grows all the same, report it with the file.",
        ),
        (
            "gradient",
            lambda: _gradient(model, drop(), needed),
            "Raise the substeps; if that does not help, report it with the file.",
        ),
        ("picture", lambda: _picture(model, ignore, needed), "Check meshes, textures and names."),
    ]
    for name, check, advice in checks:
        try:
            found = Check(name, True, check())
        except Exception as error:  # any failure is a finding here, whatever its kind
            found = Check(name, False, one_line(error), advice)
        yield found


_REPORT = "MuJoCo means something else by this file: report it with the file."


def _contents(model: Model) -> str:
    counts = {
        "links": model.num_links,
        "dofs": model.num_dofs,
        "actions": model.num_actions,
        "contacts": model.num_contacts,
        "contacts between bodies": len(model.body_contacts or ()),
        "tendons or servos": len(model.transmissions or ()),
        "couplings": len(model.couplings or ()),
    }
    text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{text}, {model.link_mass.sum():.3g} kg"


def _meshes(name: str, shortfall: float) -> str:
    return (
        f"they touch with at most {MESH_VERTICES} vertices each, whose hull falls at most "
        f"{1e3 * shortfall:.2g} mm short of the whole ({name})"
    )


def _masses(model: Model) -> str:
    error = mass_matrix_error(model)
    if not error < ACCELERATION_TOLERANCE:
        raise Finding(f"differs from MuJoCo's by {error:.1e} of its largest entry")
    return f"equals MuJoCo's in the initial pose, largest difference {error:.1e}"


def _accelerations(model: Model) -> str:
    error = acceleration_error(model)
    if not error < ACCELERATION_TOLERANCE:
        raise Finding(f"differs from MuJoCo's by {error:.1e} in 8 random states, without contact")
    return f"equals MuJoCo's in 8 random states without contact, largest difference {error:.1e}"


def _drop(model: Model, substeps: int) -> list[State]:
    """Lets the robot fall from its initial pose without actuation; the states, first included.

    Joints that start beyond their limits start at them: the limits' springs would throw them back.
    """
    simulator = WarpSimulator(
        limp(model), 1, dtype=torch.float64, control_dt=CONTROL_DT, substeps=substeps,
        mass_matrix_interval=1, threads=1,
    )  # fmt: skip
    start = torch.tensor(start_within_limits(model))[None]
    state = simulator.new_state(start, torch.zeros(1, model.num_dofs, dtype=torch.float64))
    action = torch.zeros(1, model.num_actions, dtype=torch.float64)
    states = [state]
    with torch.no_grad():
        for _ in range(SETTLING_STEPS):
            states.append(simulator.step(states[-1], action))
    return states


def _rest(model: Model, states: list[State]) -> str:
    if not bool(states[-1].joint_q.isfinite().all()):
        raise Finding("without actuation the state becomes non-finite within two seconds")
    energy = mechanical_energy(model, states)
    weight = float(model.link_mass.sum() * np.linalg.norm(model.gravity))
    fall = max(float(energy[0] - energy.min()), LEAST_FALL * weight, 1e-9)
    rise = float(energy.max() - energy[0]) / fall
    speed = float(states[-1].joint_qd.abs().max())
    beyond = np.abs(start_within_limits(model) - model.initial_q)
    text = (
        f"without actuation, after two seconds: largest speed {speed:.2g}, "
        f"{_height(model, states[-1])}energy {energy[-1] - energy[0]:+.3g} J, "
        f"at most {energy.max() - energy[0]:.2g} J above the start"
    )
    if beyond.any():
        text += f"; {np.count_nonzero(beyond)} joints start beyond their limits and began at them"
    springs = model.dof_stiffness.any() or model.transmissions is not None
    moved = springs or model.gravity_compensation is not None
    if rise > ENERGY_TOLERANCE and not moved:
        raise Finding(text)
    return text


def _height(model: Model, state: State) -> str:
    """Compares the height of a free base with MuJoCo's after the same fall."""
    free = np.flatnonzero(model.link_joint == FREE)
    if not len(free) or not model.num_contacts:
        return ""
    z = int(model.link_coordinate[free[0]]) + 2
    ours = float(state.joint_q[0, z])
    start = start_within_limits(model)
    theirs = float(rest_coordinates(model, SETTLING_STEPS * CONTROL_DT, start)[z])
    return f"base at {ours:.4f} m (MuJoCo's at {theirs:.4f} m), "


def _gradient(model: Model, states: list[State], substeps: int) -> str:
    # Not at the start itself: what just touches there has no derivative.
    fall, rest = states[STEPS_OF_A_FALL], states[-1]
    moving = torch.ones_like(rest.joint_qd) * 0.2
    places = {
        "after a tenth of a second": (fall.joint_q, fall.joint_qd),
        "at rest": (rest.joint_q, rest.joint_qd),
        "in motion there": (rest.joint_q, moving),
    }
    errors = {
        name: simulator_gradient_error(model, *state, CONTROL_DT, substeps, 1, steps=1)
        for name, state in places.items()
    }
    text = ", ".join(f"{error:.1e} {name}" for name, error in errors.items())
    if not max(errors.values()) < GRADIENT_TOLERANCE:
        raise Finding(f"adjoint and central differences differ by {text}")
    return f"adjoint equals central differences in float64: {text}"


@dataclass(frozen=True)
class _Standing(Task):
    """The robot where it starts, for a picture of it."""

    start_q: tuple[float, ...] = ()
    num_dofs: int = 0
    view: View = field(default_factory=lambda: View(eye=(2.0, -2.0, 1.5), target=(0.0, 0.0, 0.5)))
    scene: Scene = field(default_factory=lambda: Scene(wall_y=None))

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        joint_q = torch.tensor(self.start_q, dtype=torch.float32, device=device).repeat(n, 1)
        return joint_q, torch.zeros(n, self.num_dofs, device=device)

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        return torch.cat([joint_q, joint_qd], dim=1)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        return joint_qd.sum(1)


def _picture(model: Model, ignore: Sequence[str], substeps: int) -> str:
    task = _Standing(
        name="robot", robot=str(model.path.resolve()), ignore=tuple(ignore), substeps=substeps,
        mass_matrix_interval=substeps, start_q=tuple(model.initial_q.tolist()),
        num_dofs=model.num_dofs,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is ignored has been said
        env = envs.make(task, num_envs=1, device="cpu", observe="state")
    env.reset(seed=0)
    contrast = env.render(image_size=128, env_ids=[0]).float().std().item()
    env.close()
    if contrast < 1.0 or not math.isfinite(contrast):
        raise Finding("the picture has one colour only")
    return f"128x128, contrast {contrast:.0f} of 255"
