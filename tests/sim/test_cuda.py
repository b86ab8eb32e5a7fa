"""The kernels compile for CUDA where there is none; what runs on a GPU runs only there."""

from pathlib import Path
from typing import Any

import pytest
import torch
import warp as wp

import dva
from dva import robots
from dva.compute.warp_runtime import start_warp
from dva.learning import DVA, SHAC, DvaConfig, ShacConfig, TrainingContext
from dva.sensors import OUTPUTS, Camera
from dva.sensors.caster import kernels as caster_kernels
from dva.sensors.mujoco import kernels as sensor_kernels
from dva.sim import WarpSimulator, load_model
from dva.sim.warp.kernels import build_kernels

from .robots import step

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ARCHITECTURE = 90
"""Compute capability 9.0."""


def compile_for_cuda(module: Any, folder: Path) -> str:
    start_warp()
    wp.compile_aot_module(module, arch=[ARCHITECTURE], module_dir=str(folder), use_ptx=True)
    return "\n".join(path.read_text() for path in folder.glob("*.ptx"))


def test_dynamics_compile_for_cuda(tmp_path: Path):
    kernels = build_kernels(wp.float32)
    modules = {kernel.module.name: kernel.module for kernel in vars(kernels).values()}
    text = "".join(compile_for_cuda(module, tmp_path / name) for name, module in modules.items())
    for name in vars(kernels):
        assert f"locals__{name}" in text
    assert "cuda_kernel_backward" in text


@pytest.mark.parametrize("kernel", [sensor_kernels.unpack_rgb, caster_kernels.cast])
def test_camera_kernels_compile_for_cuda(kernel: wp.Kernel, tmp_path: Path):
    assert kernel.key in compile_for_cuda(kernel.module, tmp_path)


@needs_gpu
@pytest.mark.parametrize("capture", (True, False))
def test_cuda_gives_what_the_cpu_gives(capture: bool):
    model = load_model(robots.mjcf_path("hopper"))
    start = torch.tensor(model.initial_q, dtype=torch.float32).repeat(8, 1)
    results = []
    for device in ("cpu", "cuda"):
        sim = WarpSimulator(model, 8, device=device, capture=capture)
        joint_q = start.to(device)
        joint_qd = torch.zeros(8, model.num_dofs, device=device)
        action = torch.linspace(-1, 1, 24, device=device).view(8, 3).requires_grad_()
        for _ in range(4):
            joint_q, joint_qd = step(sim, joint_q, joint_qd, action)
        gradient = torch.autograd.grad(joint_q.sum() + joint_qd.sum(), action)[0]
        results.append([value.detach().cpu() for value in (joint_q, joint_qd, gradient)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_an_iteration_of_training_runs_on_cuda():
    env = dva.make("hopper", num_envs=4, device="cuda", image_size=32, final_observations=False)
    metrics = DVA(env, DvaConfig(horizon=4), TrainingContext(1_000_000)).iterate()
    assert metrics["nonfinite_count"] == 0


@needs_gpu
@pytest.mark.parametrize(
    ("kind", "config", "observe", "changes"),
    [
        (DVA, DvaConfig, "pixels", {}),
        (DVA, DvaConfig, "state", {}),
        (DVA, DvaConfig, "state", {"state_storage": "recompute"}),
        (SHAC, ShacConfig, "state", {}),
        (SHAC, ShacConfig, "pixels", {"camera": "differentiable", "image_gradient": True}),
    ],
)
def test_recorded_iterations_on_cuda_are_plain_iterations(
    kind: Any, config: Any, observe: Any, changes: Any
):
    states = []
    for cuda_graphs in (False, True):
        values = config(horizon=8, precision="float32")
        env = dva.make(
            "hopper", 4, device="cuda", image_size=32, observe=observe, final_observations=False,
            **changes,
        )  # fmt: skip
        algorithm = kind(env, values, TrainingContext(100_000, 1, cuda_graphs=cuda_graphs))
        states.append([{name: x.clone() for name, x in algorithm.state_dict().items()}])
        for _ in range(12):
            algorithm.iterate()
        assert (algorithm._fixed is not None) == cuda_graphs
        states[-1].append(algorithm.state_dict())
    (before, plain), (_, recorded) = states
    for name, value in plain.items():
        if name.startswith(("policy", "critic", "normalizers", "env.physics")):
            # Sums in another order; where a gradient is about zero Adam makes a step of its sign.
            moved = (value - before[name]).double().norm()
            apart = (recorded[name] - value).double().norm()
            assert apart <= 0.1 * moved + 1e-6 * value.double().norm(), name


@needs_gpu
def test_training_on_cuda_goes_on_where_recording_fails():
    env = dva.make("hopper", 4, device="cuda", observe="state", final_observations=False)
    algorithm = DVA(env, DvaConfig(horizon=4), TrainingContext(1_000_000))
    fit = algorithm.fit_critic

    def read(rollout: Any) -> Any:
        rollout.rewards.sum().item()
        return fit(rollout)

    algorithm.fit_critic = read  # type: ignore[method-assign]
    stream = torch.cuda.current_stream()
    with pytest.warns(UserWarning, match="CUDA graphs could not record"):
        rows = [algorithm.iterate() for _ in range(6)]
    assert torch.cuda.current_stream() == stream
    assert rows[-1]["nonfinite_count"] == 0 and rows[-1]["seconds_simulation"] is not None


@needs_gpu
def test_cuda_draws_what_the_cpu_draws():
    task = dva.tasks.get("humanoid")
    model = load_model(robots.mjcf_path(task.robot))
    joint_q, _ = task.start(3, torch.Generator().manual_seed(0), torch.device("cpu"))
    images = [
        Camera(model, task.view, task.scene, 3, 48, device=device, outputs=OUTPUTS)
        .render(joint_q.to(device))["rgb"]
        .cpu()
        .int()
        for device in ("cpu", "cuda")
    ]
    assert ((images[0] - images[1]).abs() > 2).float().mean() < 1e-3
