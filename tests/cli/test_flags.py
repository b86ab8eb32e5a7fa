"""The first look at a command line, before the algorithm's flags are known."""

import io

from dva import runs
from dva.cli.flags import find_task, find_value, find_values
from dva.cli.progress import Progress, duration


def test_find_value():
    arguments = ["cartpole", "--algo", "dva", "--preset=cpu", "--preset", "paper", "--device"]
    assert find_value(arguments, "--algo") == "dva"
    assert find_value(arguments, "--preset") == "paper"
    assert find_value(arguments, "--device") is None
    assert find_value(arguments, "--seed") is None


def test_find_values():
    arguments = ["cartpole", "--observe", "pixels", "state", "--seed", "3", "--device=cpu"]
    assert find_values(arguments, "--observe") == ("pixels", "state")
    assert find_values(arguments, "--device") == ("cpu",)
    assert find_values(arguments, "--camera") == ()
    assert find_values(["--observe", "state", "--observe", "depth"], "--observe") == ("depth",)


def test_find_task():
    known = ["cartpole", "hopper"]
    assert find_task(["hopper", "--run-dir", "cartpole"], known) == "hopper"
    assert find_task(["--run-dir", "cartpole", "--nan-guard", "hopper"], known) == "hopper"
    assert find_task(["unknown", "--seed", "1"], known) == "unknown"
    assert find_task(["--seed", "1"], known) is None
    assert find_task([], known) is None


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
