"""Checks of an installation and of a task: every part that training needs, smallest first."""

import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg
import torch
import warp as wp

from dva import envs, tasks
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, usage_errors
from dva.compute.warp_runtime import start_warp
from dva.envs.task_check import check_task
from dva.runs.checks import Check, Finding, one_line
from dva.runs.gradient_check import GRADIENT_TOLERANCE, simulator_gradient_error
from dva.runs.machine import describe_device, versions
from dva.runs.video import VideoWriter
from dva.sensors import check_mount
from dva.sim import Model, load_model, stable_substeps

__all__ = ["GRADIENT_TOLERANCE", "Check", "check_installation", "gradient_error"]

_REINSTALL = "Install again, in the folder of the checkout: pip install --force-reinstall -e ."
"""Advice where a package is missing or broken."""


def check_installation(task: str = "cartpole", device: str = "auto") -> Iterator[Check]:
    """Runs every check, each in turn; a failed one does not stop those after it.

    Args:
        task: the task whose robot and scene are tried; MODULE:NAME for one of your own.
        device: "auto", "cpu", "cuda" or "cuda:INDEX".

    Raises:
        UsageError: there is no such task or device, the task's module cannot be imported, or its
            robot or its functions fail.
    """
    with usage_errors():
        tasks.get(task)
        device = str(resolve_device(device))
    _require_buildable(task)
    checks: list[tuple[str, Callable[[], str], str]] = [
        ("versions", _versions, _REINSTALL),
        ("devices", lambda: _devices(device), "Check the GPU driver, or use --device cpu."),
        (
            "kernel compilation",
            lambda: _compile(task, device),
            "Warp compiles kernels into its cache folder on first use: make sure that there is "
            "disk space and that the folder can be written (WARP_CACHE_PATH moves it).",
        ),
        (
            "substeps",
            lambda: _substeps(task),
            "Too few substeps let the state or its gradient explode. Raise the task's substeps, or "
            "lower what asks for so many: friction slope kf, damping or stiffness of parts that "
            "are light.",
        ),
        (
            "stepping",
            lambda: _step(task, device),
            "With a robot of your own, see the check of substeps, then its masses, keyframe and "
            "contacts. With one of ours, try --device cpu, and report both results.",
        ),
        (
            "reward",
            lambda: _reward(task, device),
            "First-order methods learn from the reward's gradient alone. Write reward() in torch "
            "operations that have gradients, without detach() or comparisons; where it is not "
            "finite, look for square roots and divisions at zero.",
        ),
        (
            "rendering",
            lambda: _render(task, device),
            "Cameras read scenes with mujoco and draw some with mujoco-warp: check that both have "
            "the versions that dva asks for (pip check).",
        ),
        (
            "sensors",
            lambda: _sensors(task, device),
            "This is about the task's own sensors: change what the text names, or leave the sensor "
            "out of the task's sensors.",
        ),
        (
            "gradient",
            lambda: _gradient(task),
            "The adjoint disagrees with finite differences, so training would go astray. With a "
            "robot of your own, the reason is most likely too few substeps (see that check), or a "
            "start right where a force begins, at touchdown or at a joint limit: raise substeps, "
            "or move the start. With one of ours, report it.",
        ),
        (
            "ffmpeg",
            _ffmpeg,
            "imageio-ffmpeg brings its own binary: pip install --force-reinstall imageio-ffmpeg, "
            "or point IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264.",
        ),
    ]
    for name, check, advice in checks:
        try:
            with _without_substeps_warning():
                found = Check(name, True, check())
        except Exception as error:  # any failure is a finding here, whatever its kind
            found = Check(name, False, one_line(error), advice)
        yield found


@contextmanager
def _without_substeps_warning() -> Iterator[None]:
    """Silences the simulator's warning of too few substeps, which is a check of its own here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*substeps is")
        yield


def _require_buildable(task: str) -> None:
    """Tries a task's robot and functions, without a simulation: what fails here is the task's.

    Raises:
        UsageError: that fails, whatever the reason; the text is one line.
    """
    description = tasks.get(task)
    try:
        model = _load(description)
        check_mount(description.view, model.body_names, model.path)
        check_task(description, model, torch.device("cpu"))
        stable_substeps(model, description.control_dt)
    except Exception as error:  # the task's code and its robot are the user's
        raise UsageError(f"Task {task!r} cannot be built: {one_line(error)}") from error


def _load(task: tasks.Task) -> Model:
    return load_model(task.mjcf, inertia=task.inertia, ignore=task.ignore)


def _versions() -> str:
    found = versions()
    missing = [name for name, version in found.items() if version == "not installed"]
    if missing:
        raise Finding(f"not installed: {', '.join(missing)}")
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _devices(device: str) -> str:
    start_warp()
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.startswith("cuda") and not wp.is_cuda_available():
        raise Finding("PyTorch finds a GPU but Warp does not: the driver is too old for Warp")
    torch.ones(1, device=device).add_(1)
    return f"using {device} ({describe_device(device)}); {seen} CUDA device(s) found"


def _make_env(task: str, device: str) -> envs.VectorEnv:
    return envs.make(task, num_envs=2, device=device, image_size=48)


def _compile(task: str, device: str) -> str:
    env = _make_env(task, device)
    env.reset()
    action = torch.zeros(2, env.action_size, device=env.device, requires_grad=True)
    env.step(action)
    env.state.joint_q.sum().backward()
    env.close()
    return f"physics, its adjoint and camera of {task} compiled for {device}"


def _substeps(task: str) -> str:
    description = tasks.get(task)
    model = _load(description)
    needed = stable_substeps(model, description.control_dt)
    text = f"{description.substeps} given, {needed} needed"
    if description.substeps < needed:
        raise Finding(text)
    return text


def _step(task: str, device: str) -> str:
    env = _make_env(task, device)
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    steps = 30
    total = 0.0
    for _ in range(steps):
        action = torch.rand(2, env.action_size, generator=generator) * 2 - 1
        _, reward, _, _, info = env.step(action.to(env.device))
        if bool(info["nonfinite"].any()):
            raise Finding("the state became non-finite under random actions")
        total += reward.detach().mean().item()
    env.close()
    return f"{steps} steps of 2 environments, mean reward {total / steps:.3f}"


def _reward(task: str, device: str) -> str:
    env = envs.make(task, num_envs=2, device=device, observe="state")
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    steps = 4
    shape = (steps, 2, env.action_size)
    actions = (torch.rand(shape, generator=generator) - 0.5).to(env.device).requires_grad_()
    total = torch.stack([env.step(action)[1].sum() for action in actions]).sum()
    env.close()
    if not total.requires_grad:
        raise Finding("the reward has no gradient: it depends on neither the state nor actions")
    (gradient,) = torch.autograd.grad(total, actions)
    size = gradient.norm().item()
    if not math.isfinite(size):
        raise Finding(f"the gradient of the reward of the first {steps} steps is not finite")
    if size == 0.0:
        raise Finding(f"the reward of the first {steps} steps does not change with the actions")
    return f"depends on the actions, gradient norm {size:.2g} over the first {steps} steps"


def _render(task: str, device: str) -> str:
    env = _make_env(task, device)
    pixels = env.reset(seed=0)["pixels"]
    picture = env.render(image_size=128, env_ids=[0])
    env.close()
    contrast = picture.float().std().item()
    if tuple(pixels.shape) != (2, 9, 48, 48) or pixels.dtype != torch.uint8:
        raise Finding(f"pixels are {pixels.dtype} {tuple(pixels.shape)}")
    if contrast < 1.0:
        raise Finding("the picture has one colour only")
    return f"48x48 and 128x128 pictures, contrast {contrast:.0f} of 255"


def _sensors(task: str, device: str) -> str:
    own = tuple(maker.name for maker in tasks.get(task).sensors)
    if not own:
        return "the task has none of its own"
    env = envs.make(task, num_envs=2, device=device, observe=own, image_size=48)
    env.reset(seed=0)
    env.step(torch.zeros(2, env.action_size, device=env.device))
    env.close()
    return f"{', '.join(own)} read as their entries say"


def _gradient(task: str) -> str:
    error = gradient_error(task)
    if not error < GRADIENT_TOLERANCE:
        raise Finding(f"relative error {error:.1e}, allowed {GRADIENT_TOLERANCE:.0e}")
    return f"adjoint agrees with central differences in float64, relative error {error:.1e}"


def gradient_error(task: str, steps: int = 4, num_envs: int = 2) -> float:
    """Compares the simulator's gradient with central differences, on a CPU in float64.

    The loss is a fixed random linear form of the state after `steps` control steps from the
    task's start; it is differentiated in every action and in the starting velocities.

    Returns:
        Largest difference over the largest gradient entry, dimensionless.
    """
    description = tasks.get(task)
    generator = torch.Generator().manual_seed(0)
    start = description.start(num_envs, generator, torch.device("cpu"))
    start_q, start_qd = (value.double() for value in start)
    return simulator_gradient_error(
        _load(description),
        start_q,
        start_qd,
        description.control_dt,
        description.substeps,
        description.mass_matrix_interval,
        steps,
        generator,
    )


def _ffmpeg() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        with VideoWriter(path, fps=60) as writer:
            for _ in range(4):
                writer.add(torch.zeros(3, 64, 64, dtype=torch.uint8))
        size = path.stat().st_size
        if size == 0:
            raise Finding("ffmpeg wrote an empty file")
    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()} writes H.264"
