"""The replay of single steps: what is drawn is what happened, and it is saved piece by piece."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_cuda import CUDA, pretended_cuda
from safetensors.torch import load_file, save_file
from tape import Tape
from torch import Tensor

from dva.envs.frames import first_stack, push, restart
from dva.learning.steps import StepReplay, bytes_per_step
from dva.spec import Entry, ObservationSpec

CPU = torch.device("cpu")
ENVS, SLOTS, STACK = 3, 11, 3
PIXELS = Entry("pixels", "image", (2, 2, 2), "uint8", STACK, low=0.0, high=255.0)
SPEC = ObservationSpec((PIXELS, Entry("state", "vector", (2,))))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_replay(**changes: Any) -> StepReplay:
    values = {"spec": SPEC, "action_size": 1, "num_envs": ENVS, "capacity": ENVS * SLOTS + 2}
    return StepReplay(**{**values, "device": CPU, **changes})


@dataclasses.dataclass
class Step:
    """One step of all environments, and what a plain environment shows of it."""

    before: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final: dict[str, Tensor]
    after: dict[str, Tensor]

    @property
    def done(self) -> Tensor:
        return self.terminated | self.truncated


def steps(count: int, ends: float = 0.3, seed: int = 0, envs: int = ENVS) -> list[Step]:
    """Random steps, with stacks as an environment makes them; every state is another."""
    draw = generator(seed)

    def readings() -> dict[str, Tensor]:
        pixels = torch.randint(0, 256, (envs, 2, 2, 2), generator=draw, dtype=torch.uint8)
        return {"pixels": pixels, "state": torch.rand(envs, 2, generator=draw)}

    def chance(of: float) -> Tensor:
        return torch.rand(envs, generator=draw) < of

    new = readings()
    before = {**new, "pixels": first_stack(new["pixels"], STACK)}
    found = []
    for _ in range(count):
        new, fresh = readings(), readings()
        final = {**new, "pixels": push(before["pixels"], new["pixels"])}
        terminated, truncated = chance(ends / 2), chance(ends / 2)
        done = terminated | truncated
        after = {
            "pixels": restart(final["pixels"], fresh["pixels"], done),
            "state": torch.where(done[:, None], fresh["state"], final["state"]),
        }
        action = torch.rand(envs, 1, generator=draw)
        reward = torch.rand(envs, generator=draw)
        found.append(Step(before, action, reward, terminated, truncated, final, after))
        before = after
    return found


def fill(replay: StepReplay, made: list[Step], begin: bool = True) -> StepReplay:
    if begin:
        replay.begin(made[0].before)
    for step in made:
        replay.add(
            step.action, step.reward, step.terminated, step.truncated, step.final, step.after
        )
    return replay


def expected_transitions(made: list[Step], n: int, discount: float) -> dict[float, dict[str, Any]]:
    """All n-step transitions by the first number of their state, computed one by one."""
    found = {}
    for t in range(len(made)):
        for env in range(made[0].reward.numel()):
            total, factor, last = 0.0, 1.0, made[t]
            for step in made[t : t + n]:
                total += factor * float(step.reward[env])
                factor *= discount
                last = step
                if step.done[env]:
                    break
            found[float(made[t].before["state"][env, 0])] = {
                "time": t,
                "env": env,
                "pixels": made[t].before["pixels"][env],
                "action": made[t].action[env],
                "reward": total,
                "discount": 0.0 if last.terminated[env] else factor,
                "next_pixels": last.final["pixels"][env],
                "next_state": last.final["state"][env],
            }
    return found


def drawn_times(replay: StepReplay, made: list[Step], n: int, size: int = 600) -> set[Any]:
    """Checks a draw against what happened; returns which (environment, time) were drawn."""
    expected = expected_transitions(made, n, 0.9)
    drawn = replay.transitions(size, n, 0.9, generator())
    times = set()
    for i in range(size):
        one = expected[float(drawn.observation["state"][i, 0])]
        assert torch.equal(drawn.observation["pixels"][i], one["pixels"])
        assert torch.equal(drawn.next_observation["pixels"][i], one["next_pixels"])
        assert torch.equal(drawn.next_observation["state"][i], one["next_state"])
        assert torch.equal(drawn.action[i], one["action"])
        assert float(drawn.reward[i]) == pytest.approx(one["reward"])
        assert float(drawn.discount[i]) == pytest.approx(one["discount"])
        times.add((one["env"], one["time"]))
    return times


def complete(made: list[Step]) -> set[Any]:
    """The (environment, time) whose readings are all among the newest slots of a ring."""
    found = set()
    for env in range(made[0].reward.numel()):
        slot, begun, starts = 0, 0, []
        for t, step in enumerate(made):
            starts.append((t, max(begun, slot - STACK + 1)))
            slot += 1
            if step.done[env]:
                slot += 1
                begun = slot
        found |= {(env, t) for t, needed in starts if needed > slot - SLOTS}
    return found


@pytest.mark.parametrize("n", [1, 3])
def test_transitions_are_what_happened_around_the_ring(n: int) -> None:
    made, replay = steps(40), new_replay()
    fill(replay, made[:1])
    for count in range(1, 41):
        assert drawn_times(replay, made[:count], n) == complete(made[:count])
        present = replay.observation()
        assert torch.equal(present["pixels"], made[count - 1].after["pixels"])
        assert torch.equal(present["state"], made[count - 1].after["state"])
        if count < 40:
            fill(replay, made[count : count + 1], begin=False)


def test_returns_of_three_steps_by_hand() -> None:
    spec = ObservationSpec((Entry("state", "vector", (1,)),))
    replay = new_replay(spec=spec, num_envs=1, capacity=20)
    no, yes = torch.tensor([False]), torch.tensor([True])

    def state(value: float) -> dict[str, Tensor]:
        return {"state": torch.tensor([[value]])}

    replay.begin(state(0.0))
    # Rewards 1, 2, 4 and then failure; rewards 8, 16 and then the end of time; rewards 32, 64.
    for start, reward, failed, late, after in [
        (0, 1.0, no, no, 1), (1, 2.0, no, no, 2), (2, 4.0, yes, no, 10),
        (10, 8.0, no, no, 11), (11, 16.0, no, yes, 20),
        (20, 32.0, no, no, 21), (21, 64.0, no, no, 22),
    ]:  # fmt: skip
        action = torch.tensor([[float(start)]])
        replay.add(action, torch.tensor([reward]), failed, late, state(start + 1), state(after))
    drawn = replay.transitions(300, 3, 0.5, generator())
    rows = torch.cat(
        [
            drawn.observation["state"], drawn.action, drawn.reward[:, None],
            drawn.discount[:, None], drawn.next_observation["state"],
        ],
        dim=1,
    )  # fmt: skip
    assert sorted(set(map(tuple, rows.tolist()))) == [
        (0.0, 0.0, 1 + 0.5 * 2 + 0.25 * 4, 0.0, 3.0),
        (1.0, 1.0, 2 + 0.5 * 4, 0.0, 3.0),
        (2.0, 2.0, 4.0, 0.0, 3.0),
        (10.0, 10.0, 8 + 0.5 * 16, 0.25, 12.0),  # truncated: two steps, and the value after them
        (11.0, 11.0, 16.0, 0.5, 12.0),
        (20.0, 20.0, 32 + 0.5 * 64, 0.25, 22.0),  # nothing newer is known
        (21.0, 21.0, 64.0, 0.5, 22.0),
    ]


def test_every_transition_is_as_likely() -> None:
    made = steps(40)
    replay, possible = fill(new_replay(), made), complete(made)
    expected = expected_transitions(made, 1, 1.0)
    drawn = replay.transitions(60_000, 1, 1.0, generator())
    counts = {key: 0 for key in possible}
    for value in drawn.observation["state"][:, 0].tolist():
        counts[expected[value]["env"], expected[value]["time"]] += 1
    each = 60_000 / len(possible)
    chi_squared = sum((count - each) ** 2 / each for count in counts.values())
    # Mean of the chi-squared distribution and four of its standard deviations.
    assert abs(chi_squared - (len(possible) - 1)) < 4 * (2 * (len(possible) - 1)) ** 0.5


def expected_slots(made: list[Step], env: int) -> list[dict[str, Any]]:
    """All complete slots of an environment in order of time."""
    slots: list[dict[str, Any]] = []

    def add(seen: dict[str, Tensor], **values: Any) -> None:
        reading = {"pixels": seen["pixels"][env, -2:], "state": seen["state"][env]}
        no = {"action": torch.zeros(1), "reward": 0.0, "last": False, "terminated": False}
        slots.append({**reading, "first": False, **no, **values})

    add(made[0].before, first=True)
    for step in made:
        slots[-1]["action"] = step.action[env]
        reward, failed = float(step.reward[env]), bool(step.terminated[env])
        done = bool(step.done[env])
        add(step.final, reward=reward, last=done, terminated=failed)
        if done:
            add(step.after, first=True)
    return slots[:-1]


@pytest.mark.parametrize("count", [6, 30])
def test_sequences_are_what_happened(count: int) -> None:
    length, made = 4, steps(count)
    replay = fill(new_replay(), made)
    found = replay.sequences(500, length, generator())
    assert found.observation["pixels"].shape == (500, length, 2, 2, 2)
    windows, starts = {}, {}
    for env in range(ENVS):
        slots = expected_slots(made, env)
        oldest = max(0, len(slots) + 1 - SLOTS)
        for start in range(oldest, len(slots) - length + 1):
            key = float(slots[start]["state"][0])
            windows[key], starts[key] = slots[start : start + length], (env, start)
    seen = set()
    for i in range(500):
        key = float(found.observation["state"][i, 0, 0])
        for t, slot in enumerate(windows[key]):
            assert torch.equal(found.observation["pixels"][i, t], slot["pixels"])
            assert torch.equal(found.observation["state"][i, t], slot["state"])
            assert torch.equal(found.action[i, t], slot["action"])
            assert float(found.reward[i, t]) == slot["reward"]
            for name in ("first", "last", "terminated"):
                assert bool(getattr(found, name)[i, t]) == slot[name], name
        seen.add(key)
    assert seen == windows.keys()
    assert found.first[:, 1:].any() and found.last.any() and found.terminated.any()


def test_an_empty_replay_says_so() -> None:
    replay = new_replay()
    replay.begin(steps(1)[0].before)
    with pytest.raises(RuntimeError, match="0 steps of each environment, and sampling needs 1"):
        replay.transitions(2, 1, 0.9, generator())
    fill(replay, steps(3))
    with pytest.raises(RuntimeError, match="sampling needs 4"):
        replay.sequences(2, 4, generator())
    with pytest.raises(ValueError, match="length is 11; it must be below 11"):
        replay.sequences(2, 11, generator())
    with pytest.raises(ValueError, match="capacity is 14; it must be at least 15"):
        new_replay(capacity=14)
    with pytest.raises(ValueError, match="memory"):
        new_replay(memory="disk")


# ---------------------------------------------------------------------- saving


def test_it_is_saved_in_pieces_and_comes_back(tmp_path: Path) -> None:
    made, replay, markers = steps(40), new_replay(), []
    replay.begin(made[0].before)
    for count in (0, 1, 3, 9, 9, 20, 40):
        fill(replay, made[replay.added : count], begin=False)
        names = {path.name for path in tmp_path.iterdir()}
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        markers.append(replay.save(tmp_path, markers))
        assert names <= {path.name for path in tmp_path.iterdir()}  # all are live
        assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert markers[3] == markers[4] and not list(tmp_path.glob("*.part"))
    for marker in markers:
        again = new_replay()
        again.load(tmp_path, marker)
        past = made[: marker["added"]]
        if past:
            assert drawn_times(again, past, 3) == complete(past)
    # goes on as the one that was saved
    more = steps(60)[40:]
    for one in (replay, again):
        fill(one, more, begin=False)
    for name, value in replay.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    found = [x.transitions(50, 3, 0.9, generator()) for x in (replay, again)]
    assert torch.equal(found[0].observation["pixels"], found[1].observation["pixels"])
    assert torch.equal(found[0].reward, found[1].reward)
    again.save(tmp_path, [markers[2]])
    left = {int(path.stem[6:]) for path in tmp_path.iterdir()}
    new = max(markers[-1]["pieces"]) + 1
    assert left == {*markers[2]["pieces"], new}  # by now the ring holds nothing older


def test_pieces_of_a_killed_process_do_not_matter(tmp_path: Path) -> None:
    made, replay = steps(12), new_replay()
    fill(replay, made[:4])
    marker = dict(replay.save(tmp_path, []))
    fill(replay, made[4:9], begin=False)
    replay.save(tmp_path, [marker])  # and is killed before a checkpoint has the new marker
    again = new_replay()
    again.load(tmp_path, marker)
    fill(again, made[4:6], begin=False)
    second = again.save(tmp_path, [marker])
    assert len(list(tmp_path.iterdir())) == 2
    third = new_replay()
    third.load(tmp_path, second)
    assert drawn_times(third, made[:6], 1) == complete(made[:6])


def test_large_pieces_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dva.learning.step_files.PIECE_BYTES", 3 * ENVS * 40)
    made = steps(9)
    replay, again = fill(new_replay(), made), new_replay()
    marker = replay.save(tmp_path, [])
    assert len(marker["pieces"]) > 2
    again.load(tmp_path, marker)
    assert drawn_times(again, made, 3) == complete(made)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made, replay = steps(9), new_replay()
    fill(replay, made[:4])
    replay.save(tmp_path, [])
    fill(replay, made[4:], begin=False)
    marker = replay.save(tmp_path, [])
    with pytest.raises(ValueError, match=r"steps-000002.* does not go on"):
        new_replay().load(tmp_path, {**marker, "pieces": [2]})
    with pytest.raises(ValueError, match=r"pieces \[1\] end at the slots"):
        new_replay().load(tmp_path, {**marker, "pieces": [1]})
    with pytest.raises(ValueError, match="of 3 environments, and these are 2"):
        new_replay(num_envs=2).load(tmp_path, marker)
    path = tmp_path / "steps-000002.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "action": tensors["action"].repeat(1, 2)}, path)
    with pytest.raises(ValueError, match="of other shapes"):
        new_replay().load(tmp_path, marker)
    path.unlink()
    with pytest.raises(OSError, match="steps-000002"):
        new_replay().load(tmp_path, marker)


# ---------------------------------------------------------------------- memory and devices


def test_each_reading_is_kept_once() -> None:
    entry = dataclasses.replace(PIXELS, shape=(3, 32, 32))
    replay = new_replay(spec=ObservationSpec((entry,)), action_size=2, capacity=300)
    held = [x for x in vars(replay).values() if isinstance(x, Tensor)] + [*replay._held.values()]
    total = sum(x.numel() * x.element_size() for x in held)
    each = bytes_per_step(replay.spec, 2)
    assert each == 3 * 32 * 32 + 4 * 2 + 18
    assert 0 <= total - 300 * each <= 40 * ENVS  # counters of the environments


def test_the_paper_s_replay_takes_21_gb() -> None:
    entry = dataclasses.replace(PIXELS, shape=(3, 84, 84))
    assert 21e9 < 1_000_000 * bytes_per_step(ObservationSpec((entry,)), 1) < 22e9


def test_host_memory_gives_the_same_samples() -> None:
    made = steps(30)
    on_device = fill(new_replay(), made)
    on_host = fill(new_replay(memory="host"), made)
    one, other = (x.transitions(40, 3, 0.9, generator()) for x in (on_device, on_host))
    assert torch.equal(one.next_observation["pixels"], other.next_observation["pixels"])


def test_recorded_steps_and_samples_are_plain_ones() -> None:
    made, replay = steps(30), new_replay()
    fill(replay, made[:9])
    step = dataclasses.replace(made[9])
    names = ("before", "final", "after")
    fixed = {name: {k: v.clone() for k, v in getattr(step, name).items()} for name in names}
    values = {k: getattr(step, k).clone() for k in ("action", "reward", "terminated", "truncated")}

    def add() -> None:
        replay.add(**values, final_observation=fixed["final"], observation=fixed["after"])

    _, add_again = Tape().record(add)
    drawing = generator()
    sample, draw_again = Tape().record(lambda: replay.transitions(60, 3, 0.9, drawing))
    for later in made[10:]:
        for name in ("final", "after"):
            for key, value in getattr(later, name).items():
                fixed[name][key].copy_(value)
        for key, value in values.items():
            value.copy_(getattr(later, key))
        add_again()
    draw_again()
    plain, expected = fill(new_replay(), made), generator()
    plain.transitions(60, 3, 0.9, expected)  # as when it was recorded
    again = plain.transitions(60, 3, 0.9, expected)
    assert torch.equal(sample.observation["pixels"], again.observation["pixels"])
    assert torch.equal(sample.reward, again.reward)


def test_nothing_waits_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    made = steps(20)
    with pretended_cuda(monkeypatch) as cuda:
        on_cuda = [
            dataclasses.replace(
                step,
                **{
                    name: {k: v.to(CUDA) for k, v in getattr(step, name).items()}
                    for name in ("before", "final", "after")
                },
                **{
                    name: getattr(step, name).to(CUDA)
                    for name in ("action", "reward", "terminated", "truncated")
                },
            )
            for step in made
        ]
        replay = new_replay(device=CUDA)
        cuda.transfers.clear()
        fill(replay, on_cuda)
        drawing = torch.Generator(CUDA)
        found = replay.transitions(8, 3, 0.9, drawing)
        replay.sequences(4, 5, drawing)
        assert cuda.transfers == []
        on_host = fill(new_replay(device=CUDA, memory="host"), on_cuda)
        moved = on_host.transitions(8, 3, 0.9, torch.Generator(CUDA))
        assert moved.observation["pixels"].device == found.observation["pixels"].device == CUDA
