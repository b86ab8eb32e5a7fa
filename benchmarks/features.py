"""Times what each feature of the simulator costs on one robot that has it and one that does not.

    python benchmarks/features.py --save benchmarks/results/simulator-features.json

The robot is the package's ant; each feature is added to its file. Robots with and without it are
timed in turn, one training horizon forward and backward, and the least time of each counts, since
whatever else the machine does only adds. One row per feature: both times, their ratio, and what
both robots have in common is in the row: environments, horizon, substeps, threads.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import mujoco
import torch

from _results import add_output_flags, report, synchronize
from dva import robots
from dva.sim import WarpSimulator, load_model

CONTROL_DT, SUBSTEPS = 1 / 60, 16
LEGS = ("front_left", "front_right", "back_left", "back_right")


def forget_own_laws(spec: mujoco.MjSpec) -> None:
    """Takes the robot's own contact and limits away; its geoms touch the ground alone."""
    for geom in spec.geoms:
        geom.userdata = []
        geom.conaffinity = 0
    for joint in spec.joints:
        joint.userdata = []


def follow_mujoco(spec: mujoco.MjSpec) -> None:
    """Contact and limits by MuJoCo's parameters instead of the robot's own."""
    forget_own_laws(spec)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1])


def touch_bodies(spec: mujoco.MjSpec) -> None:
    """Legs touch each other and the torso, besides."""
    follow_mujoco(spec)
    for geom in spec.geoms:
        geom.conaffinity = geom.contype


def tread_terrain(spec: mujoco.MjSpec) -> None:
    """A rough height field instead of the plane."""
    forget_own_laws(spec)
    heights = torch.rand(21 * 21, generator=torch.Generator().manual_seed(0)).tolist()
    spec.add_hfield(name="hills", nrow=21, ncol=21, size=[20, 20, 0.1, 1], userdata=heights)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="hills")


def drive_servos(spec: mujoco.MjSpec) -> None:
    """Position servos instead of motors."""
    for actuator in spec.actuators:
        actuator.set_to_position(kp=20.0, kv=2.0)
        actuator.gear = [1.0] + 5 * [0.0]


def rub_joints(spec: mujoco.MjSpec) -> None:
    """Dry friction in every joint."""
    for joint in spec.joints[1:]:
        joint.frictionloss = 0.5


def stretch_tendons(spec: mujoco.MjSpec) -> None:
    """A springy tendon along each leg."""
    for leg in LEGS:
        tendon = spec.add_tendon(name=leg, stiffness=5.0, damping=0.5)
        tendon.wrap_joint(f"{leg}_hip", 0.5)
        tendon.wrap_joint(f"{leg}_ankle", 0.5)


def couple_joints(spec: mujoco.MjSpec) -> None:
    """Both ankles of a side move together."""
    for side in ("left", "right"):
        spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1=f"front_{side}_ankle", name2=f"back_{side}_ankle", data=[2.0, 1.0] + 10 * [0.0],
        )  # fmt: skip


def swim(spec: mujoco.MjSpec) -> None:
    """In a fluid."""
    spec.option.density, spec.option.viscosity = 100.0, 0.1


def carry_weight(spec: mujoco.MjSpec) -> None:
    """Half of every body's weight is carried."""
    for body in spec.bodies[1:]:
        body.gravcomp = 0.5


Edit = Callable[[mujoco.MjSpec], None]
FEATURES: dict[str, tuple[Edit | None, Edit]] = {
    "MuJoCo's contact and limits": (None, follow_mujoco),
    "contact between bodies": (follow_mujoco, touch_bodies),
    "height field": (follow_mujoco, tread_terrain),
    "servos": (None, drive_servos),
    "dry friction": (None, rub_joints),
    "four tendons": (None, stretch_tendons),
    "two couplings": (None, couple_joints),
    "fluid": (None, swim),
    "gravity compensation": (None, carry_weight),
}
"""What each is compared with, the package's robot if None, and what it is."""


def simulator(folder: Path, edit: Edit | None, args: argparse.Namespace) -> WarpSimulator:
    """Builds the simulator of the edited robot."""
    spec = mujoco.MjSpec.from_file(str(robots.mjcf_path("ant")))
    if edit is not None:
        edit(spec)
    path = folder / "robot.xml"
    path.write_text(spec.to_xml())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some would need more substeps; all get the same here
        return WarpSimulator(
            load_model(path), args.num_envs, device=args.device, control_dt=CONTROL_DT,
            substeps=SUBSTEPS, mass_matrix_interval=SUBSTEPS, threads=args.threads,
        )  # fmt: skip


def horizon_seconds(sim: WarpSimulator, horizon: int) -> float:
    """Times one horizon, forward and backward."""
    model = sim.model
    start = torch.tensor(model.initial_q, dtype=torch.float32, device=sim.device)
    joint_q = start.repeat(sim.num_envs, 1)
    velocities = torch.zeros(sim.num_envs, model.num_dofs, device=sim.device)
    actions = torch.zeros(horizon, sim.num_envs, model.num_actions, device=sim.device)
    actions.requires_grad_()
    synchronize(sim.device)
    began = time.perf_counter()
    state = sim.new_state(joint_q, velocities)
    total = torch.zeros((), device=sim.device)
    for action in actions:
        state = sim.step(state, action)
        total = total + state.joint_q.sum()
    total.backward()
    synchronize(sim.device)
    return time.perf_counter() - began


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_output_flags(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name, edits in FEATURES.items():
        with tempfile.TemporaryDirectory() as folder:
            pair = [simulator(Path(folder), edit, args) for edit in edits]
        times = [[horizon_seconds(sim, args.horizon) for sim in pair] for _ in range(args.repeats)]
        without, having = (min(column) for column in zip(*times[1:], strict=True))
        rows.append(
            {
                "feature": name,
                "without_s": round(without, 4),
                "with_s": round(having, 4),
                "ratio": round(having / without, 2),
                "num_envs": args.num_envs,
                "horizon": args.horizon,
                "substeps": SUBSTEPS,
                "threads": args.threads,
            }
        )
        print(f"{name}: {rows[-1]['ratio']}", flush=True)
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
