"""Runs every file of examples/, and compares pages with the code."""

import ast
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import dva
from dva import learning, runs, sensors, sim
from dva.cli import main
from dva.learning.first_order import action_gradient
from dva.learning.first_order.action_gradient import AdjointActionGradient, find_action_gradient
from dva.policies import policy
from dva.runs.metrics import is_timing

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TINY = ["--device", "cpu", "--num-envs", "2", "--video-interval", "0"]


def blocks(page: str) -> list[str]:
    """Returns the Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)


@pytest.fixture(autouse=True)
def in_examples(forget: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works in examples/, and forgets afterwards what the files registered."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


def train(*arguments: str, run_dir: Path, episodes: int = 0) -> list[dict[str, float]]:
    """Trains a little; returns the metrics."""
    flags = [*TINY, "--evaluation-episodes", str(episodes), "--run-dir", str(run_dir)]
    assert main(["train", *arguments, *flags]) == 0
    rows = runs.Run.open(run_dir).metrics()
    assert rows and rows[-1]["env_steps"] > 0
    return rows


def without_times(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: x for name, x in row.items() if not is_timing(name)} for row in rows]


def test_own_tasks_of_the_guide_have_a_gradient() -> None:
    for block in blocks("docs/own-task.md"):
        if "tasks.register(" in block:
            exec(block, {"__name__": "__main__"})
    for name in ("slide", "ant-spin", "hopper-short"):
        env = dva.make(name, num_envs=2, device="cpu", observe="state")
        env.reset()
        action = torch.zeros(2, env.action_size, requires_grad=True)
        env.step(action)[1].sum().backward()
        assert action.grad is not None and bool(action.grad.any()), name


def test_architecture_page_shows_the_contracts_of_the_code() -> None:
    rooms = (sim, sensors, action_gradient, policy, learning)
    shown = {}
    for block in blocks("docs/architecture.md"):
        shown |= {node.name: node for node in ast.parse(block).body}  # type: ignore[attr-defined]
    assert len(shown) == 6
    for name, node in shown.items():
        (contract,) = {vars(room)[name] for room in rooms if name in vars(room)}
        source = ast.parse(textwrap.dedent(inspect.getsource(contract))).body[0]
        assert _members(node) == _members(source), name


def _members(node: ast.AST) -> dict[str, list[str] | None]:
    """Returns arguments of methods by name, None for attributes and properties."""
    members: dict[str, list[str] | None] = {}
    for child in getattr(node, "body", []):
        if isinstance(child, ast.AnnAssign):
            members[ast.unparse(child.target)] = None
        elif isinstance(child, ast.FunctionDef):
            given = [x.arg for x in (*child.args.posonlyargs, *child.args.args)]
            members[child.name] = None if child.decorator_list else given
    return members


def test_the_page_of_architecture_names_every_example() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".xml"):
            assert f"](../examples/{path.name})" in text


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_task_trains_as_a_process_of_its_own(tmp_path: Path) -> None:
    command = ["train", "slide_task:slide", "--image-size", "16", "--horizon", "4", "--no-guide"]
    limits = ["--env-steps", "8", "--evaluation-episodes", "0", "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "dva", *command, *TINY, *limits],
        cwd=EXAMPLES, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["env_steps"] == 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["pendulum_task:pendulum", "--no-guide"],
        ["heading_compass:ant-scout", "--no-guide", "--observe", "pixels", "compass", "ahead"],
        ["cartpole", "--action-gradient", "perturbed_actions:perturbed"],
        ["cartpole", "--simulator", "mujoco_simulator:mujoco", "--observe", "state",
         "--action-gradient", "perturbed_actions:perturbed"],
    ],
    ids=["robot", "sensor", "action-gradient", "simulator"],
)  # fmt: skip
def test_example_trains(arguments: list[str], tmp_path: Path) -> None:
    small = ["--image-size", "16", "--horizon", "4", "--env-steps", "16"]
    rows = train(*arguments, *small, run_dir=tmp_path / "run")
    assert len(rows) == 2
    assert all(row["skipped_updates"] == 0 for row in rows)


def test_doctor_finds_the_robot_beside_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the task's file is found by sys.path, the robot by the task
    assert main(["doctor", "pendulum_task:pendulum", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.endswith("Finish Successfully\n")


def test_random_search_is_evaluated_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cartpole", "--algo", "random_search:random-search", "--observe", "state"]
    command += ["--horizon", "10", "--env-steps", "60"]
    whole = train(*command, run_dir=tmp_path / "whole", episodes=2)
    assert json.loads((tmp_path / "whole/evaluation.json").read_text())["episodes"] == 2
    train(*command, "--stop-at", "20", run_dir=tmp_path / "parts")
    parts = str(tmp_path / "parts")
    assert main(["train", "--resume", parts]) == 0
    assert without_times(runs.Run.open(parts).metrics()) == without_times(whole)
    capsys.readouterr()
    assert main(["eval", parts, "--episodes", "2", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2


def test_perturbed_actions_agree_with_the_adjoint() -> None:
    env = dva.make("cartpole", num_envs=4, device="cpu", observe="state", seed=3)
    config = learning.DvaConfig(horizon=6)
    algorithm = learning.DVA(env, config, learning.TrainingContext(env_steps=24, seed=3))
    rollout = algorithm.rollout()
    arguments = (rollout, env, algorithm.target_value, config.discount)
    perturbed, loss = find_action_gradient("perturbed_actions:perturbed")(*arguments)
    adjoint, adjoint_loss = AdjointActionGradient()(*arguments)
    assert torch.allclose(loss, adjoint_loss, rtol=1e-4)
    cosine = torch.cosine_similarity(perturbed.flatten(), adjoint.flatten(), dim=0).item()
    assert cosine > 0.99
    assert 0.95 < (perturbed.norm() / adjoint.norm()).item() < 1.05
