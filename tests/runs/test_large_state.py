"""A replay in chunk files and a policy with memory: trained, killed, resumed, evaluated, filmed."""

from pathlib import Path

import pytest
import torch
from killing import Killed, kill_at, repeatable
from own_algorithms import Linear, Plain
from safetensors.torch import load_file, save_file

from dva import runs
from dva.learning.state import strip_prefix
from dva.runs import Run, UsageError
from dva.runs.checkpoint import load_checkpoint, save_checkpoint

STEPS = 4 * 4
"""Environment steps of one iteration."""
KEPT = 3
"""Chunks, of one iteration each, that the replay keeps."""


class Remembering(Linear):
    """Adds to every action half of what it remembers of the last one, as a GRU might."""

    seen = 0

    def initial_state(self, n):
        return {"last": torch.zeros(n, self.action_spec.size)}

    def reset(self, state, done):
        return {"last": torch.where(done[:, None], 0.0, state["last"])}

    def act(self, observation, state):
        type(self).seen += int((state["last"] != 0).any())
        action, _ = super().act(observation, {})
        action = (0.5 * (action + state["last"])).clamp(-1, 1)
        return action, {"last": action}


class Chunks:
    """Keeps the last `KEPT` chunks, each in a file of its own that is written once."""

    def __init__(self) -> None:
        self.chunks: dict[int, torch.Tensor] = {}
        self.written: set[int] = set()
        self.live_seen: list[list[list[int]]] = []

    def append(self, chunk: torch.Tensor) -> None:
        self.chunks[max(self.chunks, default=0) + 1] = chunk
        self.chunks = dict(sorted(self.chunks.items())[-KEPT:])

    def save(self, folder: Path, live):
        assert folder.is_dir()
        self.live_seen.append([list(marker["chunks"]) for marker in live])
        for number in self.chunks.keys() - self.written:
            save_file({"chunk": self.chunks[number]}, folder / f"{number}.safetensors")
        self.written |= self.chunks.keys()
        needed = {*self.chunks, *(n for marker in live for n in marker["chunks"])}
        for path in folder.iterdir():
            if int(path.stem) not in needed:
                path.unlink()
        return {"chunks": sorted(self.chunks)}

    def load(self, folder: Path, marker):
        self.chunks = {n: load_file(folder / f"{n}.safetensors")["chunk"] for n in marker["chunks"]}
        self.written = set(self.chunks)


class Replaying(Plain):
    policy_class = Remembering

    def __init__(self, env, config, context) -> None:
        super().__init__(env, config, context)
        self.large_state = Chunks()
        self.memory = self.policy.initial_state(env.num_envs)

    def iterate(self):
        collected = []
        for _ in range(self.config.horizon):
            action, memory = self.policy.act(self.observation, self.memory)
            self.observation, reward, terminated, truncated, _ = self.env.step(action)
            self.memory = self.policy.reset(memory, terminated | truncated)
            collected.append(self.observation["state"])
        self.env_steps += self.env.num_envs * self.config.horizon
        self.large_state.append(torch.stack(collected))
        replay = torch.cat(list(self.large_state.chunks.values())).flatten(0, 1)
        drawn = replay[torch.randint(len(replay), (8,))]
        loss = torch.tanh(drawn @ self.policy.weight.T).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        # The best return is that of the second iteration, which keeps its chunks alive.
        mean = 1.0 if self.env_steps == 2 * STEPS else 0.0
        return {"return": mean, "actor_loss": loss.item(), "reward": reward.mean().item()}

    def state_dict(self):
        return {**super().state_dict(), "memory.last": self.memory["last"]}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.memory = strip_prefix("memory", state)


def files(run: Run) -> list[int]:
    return sorted(int(path.stem) for path in (run.path / "large_state").iterdir())


def test_a_replay_and_a_memory_go_on_as_if_nothing_had_happened(own, tmp_path):
    options = {"env_steps": 9 * STEPS, "checkpoint_interval": STEPS}
    whole = runs.train(own(Replaying, Remembering, **options, run_dir=tmp_path / "whole")).run
    config = own(Replaying, Remembering, **options)
    with pytest.raises(Killed):
        runs.train(config, kill_at(6))
    run = Run.open(config.run.run_dir)
    assert load_checkpoint(run.checkpoints).info["large_state"] == {"chunks": [3, 4, 5]}
    runs.train(resume=run)
    assert repeatable(run) == repeatable(whole) and len(run.metrics()) == 9
    Remembering.seen = 0
    found = runs.evaluate_run(run, episodes=2, device="cpu", video=tmp_path / "film.mp4")
    assert found.episodes == 2 and (tmp_path / "film.mp4").is_file()
    assert Remembering.seen > 50  # the memory is carried from step to step
    assert found.returns == runs.evaluate_run(whole, episodes=2, device="cpu").returns


def test_chunks_that_no_checkpoint_names_are_deleted(own):
    algorithms = []

    def make(*arguments):
        algorithms.append(Replaying(*arguments))
        return algorithms[-1]

    config = own(make, Remembering, env_steps=9 * STEPS, checkpoint_interval=STEPS)
    run = runs.train(config).run
    live = algorithms[0].large_state.live_seen
    assert live[:4] == [[], [[1]], [[1, 2]], [[1, 2], [1, 2, 3]]]  # the best one, and the latest
    assert live[-1] == [[1, 2], [6, 7, 8]]
    assert files(run) == [1, 2, 6, 7, 8, 9]
    assert load_checkpoint(run.checkpoints, "best").info["large_state"] == {"chunks": [1, 2]}


@pytest.fixture
def stopped(own) -> Run:
    return runs.train(own(Replaying, Remembering, stop_at=4 * STEPS)).run


@pytest.mark.parametrize("marker", [None, ..., 3])
def test_a_checkpoint_without_a_marker_is_refused(stopped, marker):
    found = load_checkpoint(stopped.checkpoints)
    info = {**found.info, "large_state": marker}
    if marker is ...:
        del info["large_state"]
    save_checkpoint(stopped.checkpoints, found.tensors, info)
    with pytest.raises(UsageError, match='"large_state" is .*, but algorithm own has') as caught:
        runs.train(resume=stopped)
    assert "\n" not in str(caught.value)


def test_a_replay_that_cannot_be_read_is_one_line(stopped):
    path = stopped.path / "large_state" / "3.safetensors"
    content = path.read_bytes()
    for damage in (path.unlink, lambda: path.write_bytes(content[:9])):
        damage()
        with pytest.raises(UsageError, match="large_state") as caught:
            runs.train(resume=stopped)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    assert len(runs.train(resume=stopped).run.metrics()) == 6


@pytest.mark.parametrize("marker", [None, 3, {"a": float("nan")}, {"a": torch.zeros(1)}])
def test_a_marker_that_cannot_be_saved_is_one_line(own, monkeypatch, marker):
    monkeypatch.setattr(Chunks, "save", lambda self, folder, live: marker)
    with pytest.raises(UsageError, match="The marker that large_state.save of own") as caught:
        runs.train(own(Replaying, Remembering, stop_at=STEPS))
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(own, monkeypatch):
    def save(self, folder, live):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Chunks, "save", save)
    with pytest.raises(runs.UsageError, match="large_state cannot be written: No space left"):
        runs.train(own(Replaying, Remembering, stop_at=STEPS))
