"""Notices training in which nothing is learned, and says what is likely to be wrong."""

import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["LearningWatch"]

IN_A_ROW = 5
"""Iterations without an update after which a run says so."""
PATIENCE = 100
"""Iterations without any update since the start after which a run gives up."""
BLIND = 0.01
"""Visual feedback, as a share of the exploration noise, below which a policy counts as blind."""
BLIND_IN_A_ROW = 100
"""Iterations of a blind policy after which a run says so."""


class LearningWatch:
    """Counts updates that an algorithm skips, and iterations of a blind policy, from its metrics.

    Args:
        task: name of the task, for advice.

    Attributes:
        warning: what to tell the user now, or None.
        last_warning: the last one, to be repeated at the end.
    """

    def __init__(self, task: str) -> None:
        self._task = task
        self._dead_in_a_row = self._blind_in_a_row = 0
        self._updates = 0
        self._learned = False
        self._blindness: str | None = None
        self.warning: str | None = None
        self.last_warning: str | None = None

    @property
    def hopeless(self) -> bool:
        """Whether so many iterations have passed without a single update that training may stop."""
        return not self._learned and self._dead_in_a_row >= PATIENCE

    @property
    def learned_nothing(self) -> bool:
        """Whether updates were tried and none was made."""
        return self._updates > 0 and not self._learned

    def look(self, metrics: Mapping[str, Any], env_steps: int) -> None:
        """Takes the metrics of an iteration with so many environment steps."""
        self.warning = None
        self._look_for_sight(metrics)
        updates = metrics.get("updates") or 0
        if updates == 0:  # an algorithm may collect first and learn later
            return
        self._updates += int(updates)
        if (metrics.get("skipped_updates") or 0) < updates:
            self._dead_in_a_row, self._learned = 0, True
            return
        self._dead_in_a_row += 1
        if self._dead_in_a_row == IN_A_ROW or self._dead_in_a_row % PATIENCE == 0:
            self.warning = self.last_warning = self._describe(metrics, env_steps)

    def _look_for_sight(self, metrics: Mapping[str, Any]) -> None:
        feedback, noise = metrics.get("visual_feedback"), metrics.get("action_std")
        blind = feedback is not None and noise is not None and feedback < BLIND * noise
        self._blind_in_a_row = self._blind_in_a_row + 1 if blind else 0
        if not blind and self.last_warning == self._blindness:
            self.last_warning = None
        if self._blind_in_a_row == BLIND_IN_A_ROW:
            self.warning = self.last_warning = self._blindness = (
                f"The policy has ignored its images for {BLIND_IN_A_ROW} iterations: over a "
                f"rollout its mean action varies by {feedback:.2g} (visual_feedback), less than a "
                f"hundredth of its noise, {noise:.2g}. {_remedy(metrics)}"
            )

    def _describe(self, metrics: Mapping[str, Any], env_steps: int) -> str:
        doctor = f"dva doctor {shlex.quote(self._task)}"
        what = f"Nothing was learned in the last {self._dead_in_a_row} iterations: "
        count, norm = metrics.get("nonfinite_count") or 0, metrics.get("actor_grad_norm")
        if count >= env_steps:
            return (
                f"{what}every step had a non-finite (NaN or infinite) state or reward. Look at the "
                f"task's reward and at its number of substeps: {doctor}"
            )
        # An algorithm may leave out each environment whose gradient is not finite: of none, 0 is
        # left.
        all_left_out = norm == 0 and count > 0
        if all_left_out or norm is None and "actor_grad_norm" in metrics:
            which = (
                "no environment's gradient was finite and other than 0"
                if all_left_out
                else ("every update was skipped, because its gradient was not finite")
            )
            return (
                f"{what}{which}. Likely causes are a robot that is simulated with too few "
                "`substeps`, and a reward with an infinite slope, such as a square root at 0: "
                f"{doctor}"
            )
        if norm == 0:
            return (
                f"{what}the gradient was exactly 0. Does the reward depend on the actions? {doctor}"
            )
        return (
            f"{what}the algorithm skipped every update, as not finite. Look at the task: {doctor}"
        )


def _remedy(metrics: Mapping[str, Any]) -> str:
    """Says what a blind policy may be helped by."""
    if "replay_steps" in metrics:  # an off-policy method, whose networks have one rate
        return "Try a lower --learning-rate."
    which = ": --imitation-learning-rate" if "imitation_error" in metrics else " of the policy"
    return f"Try --center-features, or a lower learning rate{which}."
