"""Commands from a shell's point of view: flags, output, exit status, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dva.cli import COMMANDS, main
from dva.compute import plugins
from dva.runs import Run
from dva.tasks import registry

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = (
    "train cartpole --preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 --image-size 32 "
    "--evaluation-episodes 2 --video-interval 0"
).split()


def start(*arguments: str, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dva", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    status = main([*TINY, "--env-steps", "32", "--run-dir", str(folder)])
    assert status == 0
    return folder


def test_help_names_every_command_without_loading_torch(capsys):
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(command in out for command in COMMANDS)
    code = "import sys; from dva.cli import main; main(['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.endswith("False\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"dva {command}" in capsys.readouterr().out


def test_train_help_shows_the_values_of_the_preset(capsys):
    for preset, size in (("cpu", 48), ("paper", 84)):
        with pytest.raises(SystemExit):
            main(["train", "--preset", preset, "hopper", "--help"])
        out = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"pixels. (default: {size})" in out
        assert "(default: 128 64 32)" in out
        assert f"those of hopper with algorithm dva and preset {preset}" in out


@pytest.mark.parametrize(
    "line",
    [
        "--observe state hopper --preset cpu",
        "--preset cpu --action-gradient perturbed_actions:perturbed --observe state hopper",
        "--observe state --action-gradient perturbed_actions:perturbed hopper --preset cpu",
        "--adam_betas 0.7 0.9 --observe state --preset=cpu hopper",
    ],
)
def test_the_task_may_stand_after_flags(line):
    from dva.cli.train_command import new_config

    config = new_config(line.split())
    assert (config.env.task, config.env.observe, config.preset) == ("hopper", ("state",), "cpu")


def test_help_texts_flow(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    with pytest.raises(SystemExit):
        main(["train", "cartpole", "--help"])
    out = capsys.readouterr().out
    assert "learning rates reach their final value there. (default" in out
    assert "--stop-at, --checkpoint-interval, --video-interval and" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "Did you mean 'train'"),
        ("train", "Give a task"),
        ("train --observe state carpole", "Give a task, before the flags: dva train TASK"),
        ("train carpole", "Did you mean 'cartpole'"),
        ("train nowhere:slide", "module 'nowhere', which cannot be imported"),
        ("train nowhere:slide", "Its file must be in the folder you work in.\n"),
        ("train os:cartpole", "The module 'os' registers no task. Did you mean 'cartpole'?"),
        ("train .nowhere:slide", "Write MODULE:NAME"),
        ("train dva.tasks:carpole", "Did you mean 'dva.tasks:cartpole'"),
        ("random carpole", "Did you mean 'cartpole'"),
        ("train cartpole --algo x", "Unknown algorithm 'x'"),
        ("train cartpole --preset x", "Allowed: cpu, fast, paper"),
        ("train cartpole --device tpu", "device is 'tpu'"),
        ("train cartpole --minutes 0", "greater than 0"),
        ("train cartpole --horizon 0", "horizon is 0"),
        ("train --resume nowhere", "There is no run in nowhere"),
        ("eval nowhere", "There is no run in nowhere"),
        ("demo --resume nowhere", "the demo is a new one"),
        ("demo --learning-rate 1", "Not known here: --learning-rate"),
        ("demo hopper", "Not known here: hopper"),
        ("random carpole --video x.mp4", "Did you mean 'cartpole'"),
        ("random cartpole --video x.avi", "must end in .mp4"),
        ("doctor carpole", "Did you mean 'cartpole'"),
        ("doctor --replay nothing.safetensors", "not a state saved"),
    ],
)
def test_mistakes_are_named_with_the_fix(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--observe pixel", "Did you mean 'pixels'"),
        ("--simulator wrap", "Did you mean 'warp'"),
        ("--action-gradient adjunct", "Did you mean 'adjoint'"),
    ],
)
def test_an_unknown_part_is_named_before_anything_is_built(flags, message, capsys):
    assert main(["train", "cartpole", *flags.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "train cartpole --learning-rate 1",
            "Not known here: --learning-rate, 1. Did you mean --actor-learning-rate or "
            "--critic-learning-rate or --final-learning-rate or --imitation-learning-rate? "
            "`dva train cartpole --help`",
        ),
        ("train cartpole --camera soft", "--camera is 'soft'; it must be one of 'hard', 'diff"),
        ("train cartpole --seed x", "--seed is 'x'; it must be a whole number."),
        ("train cartpole --minutes x", "--minutes is 'x'; it must be {None}|FLOAT."),
        ("train cartpole --seed", "--seed needs a value."),
        ("train cartpole --adam-betas 1", "--adam-betas needs 2 values."),
        ("eval x --checkpoint first", "--checkpoint is 'first'; it must be one of 'latest', 'be"),
        ("eval", "RUN is missing: Folder of the run; with --pretrained a task. `dva eval --help`"),
        ("random", "TASK is missing: Task; `dva list` shows all. MODULE:NAME for one of your own."),
        ("eval a b", "Not known here: b."),
    ],
)
def test_a_wrong_flag_is_one_line(line, message, capsys):
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}") and captured.err.count("\n") == 1
    assert captured.out == ""
    assert not set("│─╭╰") & set(captured.err)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (["train", "cartpole", "--resume", ""], "after '--resume'"),
        (["train", "cartpole", "--run-dir="], "of '--run-dir'"),
        (["train", ""], "after 'train'"),
        (["eval", ""], "after 'eval'"),
        (["random", "cartpole", "--video", " "], "after '--video'"),
        (["doctor", "--replay", ""], "after '--replay'"),
    ],
)
def test_an_empty_value_is_refused(line, place, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line) == 2
    assert f"error: The value {place} is empty. Give one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "cartpole" in out and "hopper" in out and "dva " in out
    presets = out.partition("presets:\n")[2].splitlines()
    assert [line.split(maxsplit=1)[0] for line in presets] == ["paper", "cpu", "fast"]


def test_training_overrides_hyperparameters_and_says_what_is_next(tmp_path, capsys):
    folder = tmp_path / "run"
    flags = "--env-steps 33 --actor-learning-rate 1e-3 --actor-hidden 8 4 --nan-guard --run-dir"
    assert main([*TINY, *flags.split(), str(folder)]) == 0
    config = Run.open(folder).config
    assert config.run.env_steps == 33
    assert config.algorithm.actor_learning_rate == 1e-3
    assert config.algorithm.actor_hidden == (8, 4)
    assert config.run.nan_guard
    assert len(Run.open(folder).metrics()) == 3
    out = capsys.readouterr().out
    assert f"dva eval {folder} --video" in out
    assert "env-steps 48 / 33" in out
    assert "over 2 episodes" in out


def test_eval_text_and_json(trained, tmp_path, capsys):
    assert main(["eval", str(trained), "--episodes", "3"]) == 0
    out = capsys.readouterr().out
    for name in ("mean return", "standard deviation", "episode length", "episodes"):
        assert name in out
    video = tmp_path / "video.mp4"
    assert main(["eval", str(trained), "--episodes", "1", "--json", "--video", str(video)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["episodes"] == len(found["returns"]) == 1
    assert found["mean"] == found["returns"][0]
    assert found["video"] == str(video) and video.is_file()


def test_resume_takes_the_runs_configuration(trained, capsys):
    before = len(Run.open(trained).metrics())
    assert main(["train", "--resume", str(trained), "--seed", "3"]) == 2
    assert "seed = 0; it cannot continue with 3" in capsys.readouterr().err
    assert main(["train", "hopper", "--resume", str(trained)]) == 2
    assert "task = 'cartpole'; it cannot continue with 'hopper'" in capsys.readouterr().err
    assert main(["train", "--resume", str(trained), "--horizon", "8"]) == 2
    assert "horizon = 4" in capsys.readouterr().err
    more = str(16 * (before + 1))
    assert main(["train", "cartpole", "--resume", str(trained), "--env-steps", more]) == 0
    run = Run.open(trained)
    assert len(run.metrics()) == before + 1
    assert run.config.run.env_steps == 16 * (before + 1)
    assert main([*TINY, "--run-dir", str(trained)]) == 2
    assert f"--resume {trained}" in capsys.readouterr().err


def test_only_an_interrupted_training_says_how_to_resume(trained, capsys):
    from dva.cli.train_command import _describe, _status
    from dva.runs import Outcome

    run = Run.open(trained)
    outcome = Outcome(run, "finished", signal.SIGINT)
    _describe(outcome)
    assert _status(outcome) == 0
    assert "--resume" not in capsys.readouterr().out
    outcome = Outcome(run, "interrupted", signal.SIGTERM)
    _describe(outcome)
    assert _status(outcome) == 143
    assert f"dva train --resume {trained}" in capsys.readouterr().out


def wait_for_rows(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        path = folder / "metrics.jsonl"
        if path.is_file() and path.read_text().count("\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError("training did not start")


def test_interrupt_saves_and_a_kill_loses_little(tmp_path):
    folder = tmp_path / "run"
    plan = ("--env-steps", "1600000", "--checkpoint-interval", "32", "--run-dir", str(folder))
    process = start(*TINY, *plan, cwd=tmp_path)
    wait_for_rows(folder, 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert f"dva train --resume {folder}" in out
    rows = len(Run.open(folder).metrics())

    process = start("train", "--resume", str(folder), cwd=tmp_path)
    wait_for_rows(folder, rows + 5)
    process.kill()
    process.communicate(timeout=100)
    reached = len(Run.open(folder).metrics())
    stop = str(16 * (reached + 2))
    process = start("train", "--resume", str(folder), "--stop-at", stop, cwd=tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    iterations = [row["iteration"] for row in Run.open(folder).metrics()]
    assert iterations == list(range(1, reached + 3))


def test_a_second_interrupt_says_what_is_kept(trained, tmp_path, capsys, monkeypatch):
    from dva.cli import train_command

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command.runs, "train", stop)
    assert main(["train", "--resume", str(trained)]) == 130
    err = capsys.readouterr().err
    assert "interrupted; the checkpoint before is kept." in err
    assert err.endswith(f"dva train --resume {trained}\n")
    assert main([*TINY, "--run-dir", str(tmp_path / "new")]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupted_evaluation_names_the_run(tmp_path, capsys, monkeypatch):
    from dva.runs import session

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", stop)
        assert main([*TINY, "--env-steps", "32"]) == 130
    (run,) = (tmp_path / "runs").iterdir()
    path = run.relative_to(tmp_path)
    captured = capsys.readouterr()
    assert f"Run folder: {path}\n" in captured.out
    assert captured.err.endswith(f"To continue from it: dva train --resume {path}\n")
    assert main(["train", "--resume", str(path)]) == 0
    assert Run.open(path).evaluation() is not None


def test_a_motionless_agent_does_not_overwrite_a_random_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["--zero"]):
        assert main(["random", "cartpole", "--steps", "2", *flags]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "cartpole-random.mp4",
        "cartpole-zero.mp4",
    }


def test_help_of_doctor_shows_that_the_task_may_be_left_out(capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    assert "dva doctor [-h] [OPTIONS] [TASK] " in " ".join(capsys.readouterr().out.split())


def test_random_agent(tmp_path, capsys):
    video = tmp_path / "video.mp4"
    assert main(["random", "cartpole", "--video", str(video), "--steps", "3", "--zero"]) == 0
    assert str(video) in capsys.readouterr().out
    assert video.is_file()


def test_a_task_of_ones_own_is_trained_resumed_and_evaluated(tmp_path, monkeypatch, capsys):
    shutil.copy(EXAMPLES / "slide_task.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_TRUSTED", set())
    monkeypatch.setattr(registry._TASKS, "entries", dict(registry._TASKS.entries))
    monkeypatch.delitem(sys.modules, "slide_task", raising=False)
    plan = [*TINY[2:], "--env-steps", "32", "--run-dir", "run"]
    for arguments in (
        ["train", "--device", "cpu", "slide_task:slide", "--stop-at", "16", "--no-guide", *plan],
        ["train", "--resume", "run", "--stop-at", "32", "--trust-code"],
        ["eval", "run", "--device", "cpu", "--episodes", "1", "--trust-code"],
    ):
        assert main(arguments) == 0
        assert "slide_task" in sys.modules and str(tmp_path) not in sys.path
        plugins._TRUSTED.clear()
        del sys.modules["slide_task"], registry._TASKS.entries["slide"]  # as in an own process
    out = capsys.readouterr().out
    assert "  dva train --resume run --trust-code\n" in out
    assert "  dva eval run --trust-code --video " in out
    assert "task: slide_task:slide" in (tmp_path / "run" / "config.yaml").read_text()


def test_doctor_ends_with_its_verdict(capsys, monkeypatch):
    from dva.runs import doctor

    assert main(["doctor", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Finish Successfully"

    def checks(task: str, device: str):
        yield doctor.Check("rendering", False, "no picture", "Install it again.")
        yield doctor.Check("ffmpeg", True, "there")

    monkeypatch.setattr(doctor, "check_installation", checks)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "Install it again." in out
    assert out.splitlines()[-1] == "Failed: rendering"
