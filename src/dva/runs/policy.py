"""A trained policy, loaded from a run without its training environment."""

import dataclasses
from pathlib import Path

from dva.runs.checkpoint import check_layout, load_checkpoint
from dva.runs.evaluation import Evaluation, Policy, evaluate, make_env
from dva.runs.run import Run
from dva.runs.threads import lanes

__all__ = ["evaluate_run", "load_policy"]


def load_policy(
    run: Run | str | Path,
    checkpoint: str = "latest",
    device: str | None = None,
    threads: int | None = None,
) -> Policy:
    """Loads the deterministic policy of a run.

    Args:
        run: a run or its folder.
        checkpoint: "latest" or "best" (by the running return).
        device: "auto", "cpu" or "cuda"; none: what the run asked for.
        threads: as for `dva.learning.Learner`.

    Returns:
        A function from an observation {"pixels" uint8 (n, 3 frame_stack, H, W), "state"} to
        actions (n, A) in [-1, 1], for any n.

    Raises:
        UsageError: there is no such run or checkpoint, or it cannot be read.
    """
    from dva.learning import ALGORITHMS

    run = run if isinstance(run, Run) else Run.open(run)
    stored = load_checkpoint(run.checkpoints, checkpoint)
    # The learner reads the sizes of its networks off an environment; one robot is enough.
    env = make_env(run.config, 1, device)
    learner_config = dataclasses.replace(run.config.learner, num_envs=1)
    learner = ALGORITHMS[run.config.algo].learner_class(
        env, learner_config, seed=0, threads=threads
    )
    expected = learner.policy_state()
    state = {name: value for name, value in stored.tensors.items() if name in expected}
    check_layout(stored.path, state, expected)
    learner.load_policy_state(state)
    env.close()
    return learner.act


def evaluate_run(
    run: Run | str | Path,
    episodes: int = 64,
    checkpoint: str = "latest",
    device: str | None = None,
    video: str | Path | None = None,
) -> Evaluation:
    """Evaluates the deterministic policy of a run; arguments as in `load_policy` and `evaluate`.

    Raises:
        UsageError: there is no such run or checkpoint, or a value is not allowed.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    with lanes(run.config, device) as threads:
        return evaluate(
            load_policy(run, checkpoint, device, threads),
            lambda num_envs: make_env(run.config, num_envs, device, threads=threads),
            episodes,
            video=video,
        )
