"""Exported policies: the same actions as torch, a contract that is true, and the loop of docs."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dva import runs
from dva.cli import main
from dva.deploy import OnnxPolicy, export, export_run, quantization, read_contract
from dva.deploy.contract import actuators
from dva.runs import UsageError
from dva.runs.checkpoint import load_checkpoint
from dva.runs.policy import policy_of

if not os.environ.get("CI"):
    pytest.importorskip("onnxruntime")
import onnxruntime  # noqa: E402  # where CI is set it must be there

TYPES = {
    "float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)",
    "bool": "tensor(bool)",
}  # fmt: skip
"""The runtime's names of types."""
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"


def exact(run: runs.Run) -> Any:
    """Returns the policy of a run in float32, as it is exported; on some CPUs bfloat16 is usual."""
    return policy_of(run, load_checkpoint(run.checkpoints, "latest"), "cpu", precision="float32")


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


def test_the_graph_acts_as_torch_does(kind, trained, exported):
    run, made = trained(kind), exported(kind)
    expected = rollout(exact(run), run, 12)
    spread = float(expected.std())
    assert spread > 5e-4  # something to compare
    found = rollout(OnnxPolicy(made.graph), run, 12)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert made.parity.largest < 1e-5 and made.parity.memory < 1e-6 and made.parity.beyond == 0.0
    assert 0 < made.int8_parity.mean < 0.1 * spread
    assert made.int8.stat().st_size < 0.9 * made.graph.stat().st_size
    if kind != "dreamerv3":  # whose memory carries what rounding has changed
        small = rollout(OnnxPolicy(made.int8), run, 12)
        assert (small - expected).std() < 0.15 * spread


@pytest.mark.parametrize("kind", ["dva", "dreamerv3"])
def test_graphs_take_and_give_what_the_contract_says(kind, exported):
    made = exported(kind)
    contract = json.loads(made.contract.read_text("utf-8"))
    for path in (made.graph, made.int8):
        assert read_contract(path) == contract == read_contract(made.contract)
        session = onnxruntime.InferenceSession(path)
        takes = {entry["name"]: entry for entry in contract["observation"] + contract["memory"]}
        for place in session.get_inputs():
            entry = takes.pop(place.name)
            assert place.shape == ["robots", *entry["shape"][1:]]
            assert place.type == TYPES[entry["dtype"]]
        assert not takes
        assert [place.name for place in session.get_outputs()] == [
            "action", "command", *(entry["next"] for entry in contract["memory"])
        ]  # fmt: skip


def test_the_contract_describes_sensors_actuators_and_memory(exported):
    contract = read_contract(exported("dva").graph)
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


def test_the_loop_of_the_page_drives_a_robot(trained, exported, monkeypatch):
    run = trained("dva")
    monkeypatch.chdir(exported("dva").graph.parent)
    env = runs.make_env(run, 1, "cpu", threads=1)
    policy = exact(run)
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
    assert len(loop.strip().splitlines()) <= 22
    assert robot.sent == pytest.approx(expected, abs=0.01) and len(set(robot.sent)) == 6


def test_a_graph_unlike_torch_is_not_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(UsageError, match="Nothing was written"):
        export_run(trained("dva-state"), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


class Deciding(torch.nn.Module):
    """Acts by a decision in Python that depends on numbers."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.observation_spec, self.action_spec = policy.observation_spec, policy.action_spec

    def initial_state(self, n: int) -> dict[str, torch.Tensor]:
        return {}

    def act(self, observation: Any, state: Any) -> Any:
        state_of_all = observation["state"]
        if state_of_all.sum().item() > 0:
            state_of_all = -state_of_all
        return state_of_all[:, :1], state


def test_what_cannot_be_translated_is_named(trained, tmp_path, monkeypatch):
    run = trained("dva-state")
    decides = Deciding(exact(run))
    monkeypatch.setattr(export, "policy_of", lambda *args, **kwargs: decides)
    with pytest.raises(UsageError, match="Deciding cannot be exported: .*decisions in Python"):
        export_run(run, tmp_path / "policy.onnx")


def test_the_command_writes_files_and_names_what_is_wrong(trained, tmp_path, capsys):
    run = trained("dva-state")
    assert main(["export", str(run.path), str(tmp_path / "policy.onnx"), "--int8"]) == 0
    out = capsys.readouterr().out
    assert "policy.onnx" in out and "policy.int8.onnx" in out and "policy.json" in out
    assert out.count("differ from torch's") == 2
    assert main(["export", str(run.path), str(tmp_path / "policy.pt")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nothing")]) == 2
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="no graph that can be run"):
        OnnxPolicy(tmp_path / "no.onnx")


def test_int8_without_large_layers_is_refused(exported, tmp_path, monkeypatch):
    made = exported("dva-state")
    monkeypatch.setattr(quantization, "LARGE", 10**9)
    with pytest.raises(UsageError, match="int8 would save nothing"):
        quantization.quantize(made.graph, tmp_path / "small.onnx", [], "")
    assert not (tmp_path / "small.onnx").exists()
