"""Exported policies: the same actions as torch, a contract that is true, and the loop of docs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dva import runs
from dva.cli import main
from dva.deploy import OnnxPolicy, export_run, read_contract
from dva.deploy.contract import actuators
from dva.runs import UsageError

pytest.importorskip("onnxruntime")
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"


def rollout(policy: Any, run: runs.Run, steps: int) -> torch.Tensor:
    """Returns the actions (steps, 2, A) of a policy in its task, which restarts once."""
    env = runs.make_env(run, 2, "cpu", threads=1)
    observation, memory, actions = env.reset(seed=3), policy.initial_state(2), []
    for step in range(steps):
        action, memory = policy.act(observation, memory)
        actions.append(action)
        observation, *_ = env.step(action)
        if step == steps // 2:
            observation = env.reset(seed=4)
            memory = policy.reset(memory, torch.tensor([True, True]))
    env.close()
    return torch.stack(actions)


@pytest.mark.parametrize("algo", ["dva", "drqv2", "dreamerv3"])
def test_the_graph_acts_as_torch_does(algo, trained, tmp_path):
    run = trained(algo)
    made = export_run(run, tmp_path / "policy.onnx", int8=algo == "dva")
    assert made.parity.largest <= 1e-4
    policy = runs.load_policy(run, device="cpu")
    expected = rollout(policy, run, 12)
    assert expected.std() > 1e-4  # something to compare
    found = rollout(OnnxPolicy(made.graph), run, 12)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    if made.int8 is not None:
        found = rollout(OnnxPolicy(made.int8), run, 12)
        assert 0 < (found - expected).abs().max() < 0.05
        assert made.int8.stat().st_size < 0.5 * made.graph.stat().st_size


def test_the_contract_says_what_goes_in_and_out(trained, tmp_path):
    run = trained("dva")
    made = export_run(run, tmp_path / "policy.onnx")
    contract = read_contract(made.graph)
    assert contract == read_contract(made.contract)
    pixels, angles = contract["observation"]
    assert (pixels["name"], pixels["shape"], pixels["dtype"]) == ("pixels", [1, 3, 32, 32], "uint8")
    assert pixels["frame_stack"] == 3 and angles["name"] == "joint_angles"
    assert contract["rate"] == pytest.approx(1 / contract["control_dt"])
    (slide,) = contract["command"]["actuators"]
    assert (slide["units"], slide["scale"], slide["offset"]) == ("N", 1000.0, 0.0)
    names = {entry["name"]: entry["initial"] for entry in contract["memory"]}
    assert names == {"first": True, "frames_pixels": 0}


def test_commands_span_the_range_of_each_actuator(tmp_path):
    robot = tmp_path / "robot.xml"
    robot.write_text(
        "<mujoco><worldbody><body><joint name='turn' type='hinge'/><geom size='.1'/></body>"
        "</worldbody><actuator>"
        "<motor name='torque' joint='turn' gear='50' ctrlrange='-2 4' ctrllimited='true'/>"
        "<position name='angle' joint='turn' kp='3' ctrlrange='0 1' ctrllimited='true'/>"
        "</actuator></mujoco>"
    )
    torque, angle = actuators(robot, ("torque", "angle"))
    assert (torque["units"], torque["scale"], torque["offset"]) == ("N m", 150.0, 50.0)
    assert (angle["units"], angle["scale"], angle["offset"]) == ("control of the MJCF", 0.5, 0.5)
    with pytest.raises(UsageError, match="2 actuators, and the policy 1"):
        actuators(robot, ("torque",))


def test_the_loop_of_the_page_drives_a_robot(trained, tmp_path, monkeypatch):
    run = trained("dva")
    export_run(run, tmp_path / "policy.onnx")
    monkeypatch.chdir(tmp_path)
    env = runs.make_env(run, 1, "cpu", threads=1)
    policy = runs.load_policy(run, device="cpu")
    expected: list[float] = []

    class Robot:
        """Stands for a robot's drivers: the simulated one."""

        def __init__(self) -> None:
            self.observation, self.memory = env.reset(seed=5), policy.initial_state(1)
            self.sent: list[float] = []

        def running(self) -> bool:
            return len(self.sent) < 6

        def read(self, name: str) -> np.ndarray:
            entry = policy.observation_spec[name]
            return self.observation[name][:, -entry.channels :].numpy()

        def send(self, command: np.ndarray) -> None:
            action, self.memory = policy.act(self.observation, self.memory)
            expected.append(1000.0 * float(action))
            self.sent.append(float(command[0]))
            self.observation, *_ = env.step(action)

    (loop,) = re.findall(r"^```python\n(.*?)^```", DEPLOY.read_text("utf-8"), re.M | re.S)
    robot = Robot()
    exec(compile(loop, "deploy.md", "exec"), {"robot": robot})
    assert len(loop.splitlines()) <= 22
    assert robot.sent == pytest.approx(expected, abs=0.1) and len(set(robot.sent)) == 6


def test_the_command_writes_files_and_names_what_is_wrong(trained, tmp_path, capsys):
    run = trained("dva")
    assert main(["export", str(run.path), str(tmp_path / "policy.onnx")]) == 0
    out = capsys.readouterr().out
    assert "policy.onnx" in out and "policy.json" in out and "differ from torch's" in out
    assert main(["export", str(run.path), str(tmp_path / "policy.pt")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nothing")]) == 2
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="no graph that can be run"):
        OnnxPolicy(tmp_path / "no.onnx")
