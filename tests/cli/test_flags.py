"""The first look at a command line, before the algorithm's flags are known."""

import dataclasses
import errno
import io
from pathlib import Path

import pytest

from dva import runs
from dva.cli.flags import arities, find_task, find_value, find_values
from dva.cli.progress import Progress, duration
from dva.envs import EnvConfig
from dva.learning import DvaConfig
from dva.runs import RunConfig


def test_find_value():
    arguments = ["cartpole", "--algo", "dva", "--preset=cpu", "--preset", "paper", "--device"]
    assert find_value(arguments, "--algo") == "dva"
    assert find_value(arguments, "--preset") == "paper"
    assert find_value(arguments, "--device") is None
    assert find_value(arguments, "--seed") is None
    assert find_value(["--algo", "--seed", "1"], "--algo") is None


def test_find_values():
    arguments = ["cartpole", "--observe", "pixels", "state", "--seed", "3", "--device=cpu"]
    assert find_values(arguments, "--observe") == ("pixels", "state")
    assert find_values(arguments, "--device") == ("cpu",)
    assert find_values(arguments, "--camera") == ()
    assert find_values(["--observe", "state", "--observe", "depth"], "--observe") == ("depth",)


def test_arities():
    @dataclasses.dataclass
    class Inner:
        rate: float = 1.0

    @dataclasses.dataclass
    class Outer:
        name: str = ""
        some: tuple[str, ...] = ()
        pair: tuple[float, float] = (0.0, 0.0)
        on_off: bool = False
        place: Path | None = None
        inner: Inner = dataclasses.field(default_factory=Inner)

    assert arities(Outer) == {
        "--name": 1, "--some": None, "--pair": 2, "--on-off": 0, "--no-on-off": 0, "--place": 1,
        "--inner.rate": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "T",
        "T --run-dir cartpole",
        "--run-dir cartpole --nan-guard T",
        "--no-cuda-graphs T --run_dir cartpole",
        "--action-gradient perturbed_actions:perturbed T",
        "--action_gradient=perturbed_actions:perturbed T",
        "--simulator mujoco_simulator:mujoco T --observe state",
        "--adam-betas 0.7 0.9 T",
        "--log-std-init -1.0 T",
        "--observe state T",
        "--observe heading:cartpole state --seed 3 T",
        "--seed 3 --observe=state T",
        "--actor-hidden 64 64 T --seed 3",
        "-h T",
        "--help T --observe cartpole",
    ],
)
@pytest.mark.parametrize("task", ["hopper", "slide_task:slide"])
def test_find_task(line, task):
    taken = {**arities(EnvConfig, RunConfig, DvaConfig), "--algo": 1, "--preset": 1}
    arguments = [task if word == "T" else word for word in line.split()]
    found = find_task(arguments, taken, ["cartpole", "hopper"])
    assert found is not None and arguments[found] == task


def test_find_no_task():
    taken = arities(EnvConfig, RunConfig, DvaConfig)
    for line in ("", "--seed 1", "--observe state", "--action-gradient m:x", "--run-dir cartpole"):
        assert find_task(line.split(), taken, ["cartpole"]) is None
    assert find_task(["unknown", "--seed", "1"], taken, ["cartpole"]) == 0


def test_durations():
    assert [duration(s) for s in (None, 0, 59.6, 185, 7_800)] == [
        "-", "0 s", "1 min 00 s", "3 min 05 s", "2 h 10 min",
    ]  # fmt: skip


def test_plain_progress_is_sparse_and_in_order():
    stream = io.StringIO()
    config = runs.default_config("cartpole", preset="cpu", env_steps=9 * 2048)
    with Progress(config, stream) as progress:
        for iteration in range(1, 10):
            row = {
                "iteration": iteration,
                "env_steps": iteration * 2048,
                "return": None,
                "steps_per_second": 1234.5,
            }
            progress.update(runs.Update(None, row, 9 * 2048, 12.0))
        progress.update(runs.Update(message="Video: a/[b].mp4"))
    lines = stream.getvalue().splitlines()
    assert lines[1] == "env-steps 2,048 / 18,432  return -  steps/s 1,234  time left 12 s"
    assert lines[2].startswith("env-steps 18,432 / 18,432")
    assert lines[3:] == ["Video: a/[b].mp4"]
    assert "\x1b" not in stream.getvalue()


def test_a_display_that_fails_shows_nothing_more(capsys, monkeypatch):
    stream = io.StringIO()
    with Progress(runs.default_config("cartpole", preset="cpu"), stream) as progress:
        monkeypatch.setattr(progress, "_print", lambda text: 1 / 0)
        for number in range(3):
            progress.update(runs.Update(message=f"line {number}"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "The display has failed; training goes on without: division by zero."


def test_a_reader_that_goes_away_is_told_to_the_training_and_not_at_the_end():
    class Gone(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")
            return super().write(text)

    stream = Gone()
    with Progress(runs.default_config("cartpole", preset="cpu"), stream) as progress:
        stream.gone = True
        with pytest.raises(BrokenPipeError):
            progress.update(runs.Update(message="a line"))
        row = {"env_steps": 1, "return": None, "steps_per_second": 1.0}
        progress._pending = runs.Update(None, row, 2, 1.0)


def test_the_header_says_how_long_training_may_take():
    for minutes, end in ((None, "1,000 steps)"), (5, "1,000 steps or 5 min)")):
        stream = io.StringIO()
        with Progress(runs.default_config("cartpole", env_steps=1000, minutes=minutes), stream):
            pass
        assert f"{end}. Ctrl-C" in stream.getvalue()
