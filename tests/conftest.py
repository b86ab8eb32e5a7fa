"""Stand-ins and makers that tests of several rooms share."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import dva
from dva.envs import VectorEnv
from dva.sensors import SensorRequest
from dva.sim import Model, SimulatorRequest, State, load_model
from dva.spec import Entry

# nohup ignores it, for child processes too, and tests send it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # draws scenes without a GPU
]  # fmt: skip


class StandInCamera:
    """Paints every frame in one shade that tells the states apart, and counts its calls.

    It is a sensor and what makes it.
    """

    name = "pixels"
    differentiable = False
    recordable = True

    def __init__(self) -> None:
        self.calls = 0
        self.entry = Entry("pixels", "image", (3, 4, 4), "uint8", 3, "", 0.0, 255.0)

    def build(self, request: SensorRequest) -> "StandInCamera":
        shape = (3, *request.image_size)
        self.entry = Entry("pixels", "image", shape, "uint8", request.frame_stack, "", 0.0, 255.0)
        return self

    def read(self, state: State) -> torch.Tensor:
        return self.paint(state.joint_q)

    def paint(self, joint_q: torch.Tensor) -> torch.Tensor:
        assert joint_q.isfinite().all()
        self.calls += 1
        shade = (joint_q[:, 0] * 1e4).long().remainder(256).to(torch.uint8)
        return shade[:, None, None, None].expand(-1, *self.entry.shape)


class StandInSimulator:
    """Moves every coordinate by 0.01 a step plus what the action does; `spoil` makes it fail."""

    differentiable = True
    recordable = True
    model: Model
    num_envs: int
    device: torch.device

    def __init__(self) -> None:
        self.spoil: dict[int, float] = {}

    def build(self, request: SimulatorRequest) -> "StandInSimulator":
        self.model = load_model(request.robot, inertia=request.inertia)
        self.num_envs, self.device = request.num_envs, request.device
        return self

    def new_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> State:
        return State(joint_q, joint_qd)

    def step(self, state: State, action: torch.Tensor) -> State:
        joint_qd = state.joint_qd + action.mean(dim=1, keepdim=True)
        joint_q = state.joint_q + 0.01 + joint_qd / 60
        for env, value in self.spoil.items():
            row = torch.arange(len(joint_q)) == env
            joint_q = torch.where(row[:, None], value, joint_q)
        return State(joint_q, joint_qd)


@pytest.fixture
def make() -> Callable[..., VectorEnv]:
    """Makes environments of 3 robots on the CPU, observed as states unless asked otherwise."""

    def make_env(task: Any = "cartpole", **arguments: Any) -> VectorEnv:
        defaults: dict[str, Any] = {
            "num_envs": 3, "device": "cpu", "observe": "state", "threads": 1,
        }  # fmt: skip
        return dva.make(task, **{**defaults, **arguments})

    return make_env


@pytest.fixture
def camera() -> StandInCamera:
    return StandInCamera()


@pytest.fixture
def simulator() -> StandInSimulator:
    return StandInSimulator()


@pytest.fixture
def stand_ins(camera: StandInCamera, simulator: StandInSimulator) -> dict[str, Any]:
    """Arguments of `make` for an environment of stand-ins, observed as 4 x 4 pixels."""
    return {
        "simulator": simulator.build, "sensors": [camera], "observe": "pixels", "image_size": 4,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Fails a test that leaves torch's number of threads changed, for the tests that follow."""
    threads = torch.get_num_threads()
    yield
    found = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert found == threads


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Starts the system's chromium, driven by Playwright.

    Where CI is set it must be there; elsewhere tests are skipped without it. No longer than a
    module: while it runs nothing else can use asyncio.
    """
    path = os.environ.get("DVA_BROWSER") or shutil.which("chromium") or shutil.which("chrome")
    if path is None:
        text = "No chromium: install it (apt-get install chromium), or name one in DVA_BROWSER."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    if not os.environ.get("CI"):
        pytest.importorskip("playwright.sync_api")
    import playwright.sync_api as sync_api  # a missing package fails here

    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=120_000)
        yield found
        found.close()
