"""A user's own algorithm: it resumes bit for bit, and its faults are named in one line."""

import re

import numpy as np
import pytest
import torch
from own_algorithms import Linear, Plain

from dva import runs
from dva.runs import Run, UsageError
from dva.runs.build import build
from dva.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dva.runs.learner import collect_tensors, load_tensors, restore_random_state
from dva.runs.metrics import is_timing

STEPS = 4 * 4
"""Environment steps of one iteration."""


def repeatable(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in run.metrics()]


def spoil(run: Run, change) -> None:
    """Changes tensors of the latest checkpoint, with digests that match."""
    found = load_checkpoint(run.checkpoints)
    tensors = {name: value.clone() for name, value in found.tensors.items()}
    change(tensors)
    save_checkpoint(run.checkpoints, tensors, found.info)


def refusal(run: Run) -> str:
    with pytest.raises(UsageError) as caught:
        runs.train(resume=run)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_plain_optimizer_and_an_infinity_resume_bit_for_bit(own, tmp_path):
    whole = runs.train(own(run_dir=tmp_path / "whole")).run
    run = runs.train(own(stop_at=3 * STEPS)).run
    tensors = load_checkpoint(run.checkpoints).tensors
    assert "algorithm.adam.0.exp_avg" in tensors  # a new algorithm has none
    assert tensors["algorithm.best"] == -torch.inf
    assert repeatable(runs.train(resume=run).run) == repeatable(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("algorithm.best"), "does not fit algorithm own: it lacks 'best'"),
        (lambda t: t["algorithm.best"].fill_(torch.nan), "'best' has 1 of 1 .* not finite .NaN."),
        (lambda t: t["policy.weight"].fill_(torch.inf), "'weight' has .* not finite"),
        (lambda t: t.pop("policy.weight"), "lacks the tensor 'weight'"),
        (lambda t: t.update({"other": torch.zeros(1)}), "a tensor 'other' that nothing asks for"),
        (lambda t: t.update({"algorithm.more": torch.zeros(1)}), "'more' that nothing asks for"),
        (
            lambda t: t.update({"algorithm.policy.weight": torch.zeros(2, 2)}),
            "does not fit algorithm own: Error.* size mismatch",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_one_line(own, change, message):
    run = runs.train(own(Plain, stop_at=2 * STEPS)).run
    spoil(run, change)
    text = refusal(run)
    assert re.search(message, text), text
    assert str(run.checkpoints) in text


@pytest.mark.parametrize("name", ["actor_optimizer.1.exp_avg", "episodes", "env.physics.joint_q"])
def test_what_a_first_order_algorithm_lacks_or_has_otherwise_is_refused(tiny, name):
    run = runs.train(tiny(stop_at=2 * STEPS)).run
    kept = load_checkpoint(run.checkpoints)
    key = f"algorithm.{name}"
    assert key in kept.tensors
    for change in (lambda t: t.pop(key), lambda t: t.update({key: t[key].reshape(-1)[:1].clone()})):
        spoil(run, change)
        text = refusal(run)
        assert str(run.checkpoints) in text
        save_checkpoint(run.checkpoints, kept.tensors, kept.info)
    assert len(runs.train(resume=run).run.metrics()) == 20


class Unnumbered(Linear):
    def description(self):
        return {**super().description(), "low": float("-inf")}


class Untold(Linear):
    def description(self):
        return {"action": self.action_spec.to_dict()}


class Wider(Linear):
    def __init__(self, observation_spec, action_spec, width: int = 3) -> None:
        super().__init__(observation_spec, action_spec)
        self.more = torch.nn.Parameter(torch.zeros(width))


class Grown(Wider):
    """Has a width of which its description does not speak."""

    def __init__(self, observation_spec, action_spec, width: int = 5) -> None:
        super().__init__(observation_spec, action_spec, width)

    @classmethod
    def rebuild(cls, description, device, threads=None):
        return Wider.rebuild(description, device)


class Typed(Linear):
    def description(self):
        return {**super().description(), "dtype": torch.float32}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Unnumbered, "The description of own's policy cannot be saved as JSON: Out of range"),
        (Typed, "cannot be saved as JSON: .*dtype is not JSON"),
        (Untold, "Untold.rebuild cannot read the description .*: KeyError: 'observation'"),
        (Grown, r"differs from the trained one, which .*'more' of shape \(5,\), expected"),
    ],
)
def test_a_policy_that_cannot_be_saved_is_named_before_training(own, policy, message):
    class Algorithm(Plain):
        policy_class = policy

    config = own(Algorithm, policy)
    with pytest.raises(UsageError, match=message) as caught:
        runs.train(config)
    assert "\n" not in str(caught.value) and not config.run.run_dir.exists()


def test_a_state_that_is_no_tensor_is_named_before_training(own):
    class Algorithm(Plain):
        def state_dict(self):
            return {**super().state_dict(), "iteration": 3}

    config = own(Algorithm)
    with pytest.raises(UsageError, match="State 'iteration' of own is a int; .* torch.tensor"):
        runs.train(config)
    assert not config.run.run_dir.exists()


def test_info_that_is_no_json_leaves_no_file(tmp_path):
    info = {"iteration": 1, "env_steps": 1}
    for bad in (float("nan"), torch.float32):
        with pytest.raises((TypeError, ValueError)):
            save_checkpoint(tmp_path / "c", {"a": torch.zeros(1)}, {**info, "policy": bad})
        assert not (tmp_path / "c").exists()


def returning(**metrics):
    """An algorithm that returns these metrics in its second iteration."""

    class Algorithm(Plain):
        def iterate(self):
            found = super().iterate()
            return found if self.env_steps == STEPS else {**found, **metrics}

    return Algorithm


class Idle(Plain):
    def iterate(self):
        return {"return": 0.0}


class Mute(Plain):
    def iterate(self):
        super().iterate()


class OnDevice(Plain):
    def iterate(self):
        found = super().iterate()
        self.env_steps = torch.tensor(self.env_steps)
        return found


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (Idle, "Algorithm own counts 0 environment steps after .* at least one step"),
        (Mute, r"iterate\(\) of algorithm own returned None; it must return a dict"),
        (OnDevice, r"env_steps of algorithm own is tensor\(16\); it must be an int"),
        (returning(loss="low"), "Metric 'loss' of algorithm own is 'low'; metrics must be numbers"),
        (returning(loss=torch.zeros(2, 2)), "Metric 'loss' of algorithm own is tensor"),
        (returning(loss=[1.0]), "Metric 'loss' of algorithm own is .1.0.; "),
        (returning(iteration=7), "Metric 'iteration' of algorithm own has a name that is"),
        (returning(wall_time=0.0), "Metric 'wall_time' of algorithm own has a name"),
    ],
)
def test_a_breach_of_the_contract_names_the_algorithm(own, algorithm, message):
    with pytest.raises(UsageError, match=message) as caught:
        runs.train(own(algorithm))
    assert "\n" not in str(caught.value)


def test_numbers_of_any_library_and_no_return_are_allowed(own, capsys):
    class Algorithm(returning(a=torch.tensor(2.0), b=np.float32(3), c=None, d=float("nan"))):
        def iterate(self):
            found = super().iterate()
            del found["return"]
            return found

    row = runs.train(own(Algorithm, stop_at=2 * STEPS), print).run.metrics()[-1]
    assert [row[name] for name in "abcd"] == [2.0, 3.0, None, None]
    assert "32 / 32 steps  return -" in capsys.readouterr().out


@pytest.fixture
def pretended_cuda(monkeypatch) -> dict[str, torch.Tensor]:
    """What stands for the random state of a GPU, under "state"."""
    kept = {"state": torch.arange(16, dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: kept["state"].clone())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: kept.update(state=state.clone())
    )
    return kept


def test_a_random_state_that_is_none_is_one_line(own, tmp_path):
    cpu = torch.device("cpu")
    with build(own()) as built:
        tensors = collect_tensors(built.algorithm, cpu)
    tensors["torch_generator"].zero_()
    checkpoint = Checkpoint(tensors, {}, tmp_path / "step.safetensors")
    with pytest.raises(UsageError, match="step.safetensors does not fit algorithm own: Invalid"):
        restore_random_state(checkpoint, "own", cpu)


def test_the_random_state_of_a_gpu_comes_back(own, pretended_cuda, tmp_path):
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    with build(own()) as built:
        algorithm = built.algorithm
        usual = collect_tensors(algorithm, cpu)
        tensors = collect_tensors(algorithm, cuda)
        assert tensors.keys() - usual.keys() == {"torch_cuda_generator"}
        checkpoint = Checkpoint(tensors, {}, tmp_path / "step.safetensors")
        first = pretended_cuda["state"]
        pretended_cuda["state"] = first + 1
        for device in (cpu, cuda):  # a CPU does not mind
            load_tensors(checkpoint, algorithm, "own", device)
            restore_random_state(checkpoint, "own", device)
            assert torch.equal(pretended_cuda["state"], first) == (device == cuda)
        # A checkpoint of a version that did not save it.
        load_tensors(Checkpoint(usual, {}, checkpoint.path), algorithm, "own", cuda)
        restore_random_state(Checkpoint(usual, {}, checkpoint.path), "own", cuda)
        tensors["torch_cuda_generator"] = first[:3]
        with pytest.raises(UsageError, match="'torch_cuda_generator' of shape"):
            load_tensors(checkpoint, algorithm, "own", cuda)
