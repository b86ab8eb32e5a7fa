"""The trials that break runs: what holds is no failure, and what does not is named."""

from pathlib import Path

import trust


def test_what_is_broken_on_purpose_holds_or_is_named(tmp_path: Path) -> None:
    trials = trust.Trials(tmp_path / "runs", seed=0, iterations=2)
    assert len(trials.rows) == 2
    for number in range(2):
        trials.crashes(number)
        trials.damages(number)
    trials.strangers(0)
    assert trials.failures == []
    trials.rows = []
    trials.crashes(2)
    (fault,) = trials.failures
    assert fault.endswith("other metrics than those of the undisturbed run")
