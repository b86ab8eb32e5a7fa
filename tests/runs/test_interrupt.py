"""Signals: the first is noted, the second ends at once, but not in the middle of a save."""

import signal

import pytest

from dva.runs.interrupt import Interrupt

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_ends_it(number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        signal.raise_signal(number)
        assert interrupt.signal == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) is before


def test_a_second_signal_waits_for_the_end_of_a_save():
    done = []
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            with interrupt.deferred():
                signal.raise_signal(signal.SIGINT)
                done.append("saved")
        assert done == ["saved"]
        with interrupt.deferred():  # it acts once
            done.append("saved again")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_first_signal_during_a_save_is_only_noted():
    with Interrupt() as interrupt:
        with interrupt.deferred():
            signal.raise_signal(signal.SIGTERM)
        assert interrupt.signal == signal.SIGTERM


def test_a_third_signal_ends_a_save_at_once():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            with interrupt.deferred():
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                raise AssertionError("went on after the third signal")


def test_a_fault_in_a_save_is_not_hidden_by_a_signal():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(OSError, match="full"):
            with interrupt.deferred():
                signal.raise_signal(signal.SIGINT)
                raise OSError("full")


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
        assert interrupt.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "I/O error")])
def test_an_output_that_has_gone_away_counts_as_a_hang_up(error):
    interrupt, seen = Interrupt(), []

    def report(update: int) -> None:
        seen.append(update)
        raise error

    guarded = interrupt.guarded(report)
    guarded(1)
    guarded(2)
    assert seen == [1]
    assert interrupt.signal == signal.SIGHUP
