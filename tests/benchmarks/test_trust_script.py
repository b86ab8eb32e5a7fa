"""The trials that break runs: what holds is no failure, and what does not is named."""

import sys
from pathlib import Path

import trust
from _breaking import Process


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


def test_errors_of_a_process_are_told_from_what_it_prints(tmp_path: Path) -> None:
    def refuse() -> int:
        print("a header")
        print("error: one line", file=sys.stderr)
        return 2

    ended = Process(tmp_path, refuse).wait()
    assert (ended.status, ended.errors, ended.fault) == (2, "error: one line\n", None)


def test_a_traceback_is_a_fault_whatever_the_status(tmp_path: Path) -> None:
    ended = Process(tmp_path, lambda: {}["nothing"]).wait()
    assert ended.fault is not None and "KeyError" in ended.fault
