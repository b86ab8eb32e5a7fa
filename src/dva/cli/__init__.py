"""The command `dva`: one file per command; each reads flags, calls, and prints.

Enters: a command line. Leaves: text on the console and an exit status (0 done, 1 a check failed,
2 what was asked for cannot be done, 130, 143 or 129 ended by Ctrl-C, SIGTERM or SIGHUP). Commands
hold no logic of their own: what they call lies in `dva.runs` and below. Add one by adding its file
and a line in `COMMANDS`.
"""

import importlib
import sys
from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "demo": "Train a cart to swing up a pole from pixels, in minutes on a CPU, and film it.",
    "train": "Train a policy; writes a run folder. --resume continues one.",
    "eval": "Evaluate the deterministic policy of a run; --video films it.",
    "pretrained": "List the trained policies of the package, or unpack one as a run folder.",
    "random": "Film a random (or motionless) agent, to see a task without training.",
    "benchmark": "Train every algorithm on every task with every seed; can be started again.",
    "compare": "Draw runs against each other: return over time and steps, a table, phases.",
    "view": "Show a run or a task in the browser: in 3-D, live, with controls.",
    "report": "Write runs as one HTML page: curves, phases, videos, settings; needs no network.",
    "study": "Check a claim of the paper; writes a figure and its numbers.",
    "export": "Write the policy of a run as an ONNX graph with a contract, for a robot's computer.",
    "transfer": "Try the policy of a run in MuJoCo's own physics; prints both returns.",
    "list": "List tasks, algorithms and presets.",
    "doctor": "Check the installation; --replay shows what made a run non-finite.",
}
"""Every command with one line of help. Modules are imported when called: `--help` stays fast."""

EXAMPLES = """\
examples:
  dva demo                                            pixels to a swing-up, in minutes
  dva doctor                                          is everything installed?
  dva random cartpole --video cartpole.mp4            see a task
  dva train cartpole                                  train it, here and now
  dva train cartpole --minutes 5 --actor-learning-rate 1e-3
  dva eval runs/cartpole-dva-s0-20260101-120000 --video swing-up.mp4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status.

    Args:
        arguments: the command line after the program's name; None: the process' own.
    """
    from dva.cli.output import complete_streams, output_may_go, say_error, tolerate_characters
    from dva.cli.signals import ended_by_signals

    complete_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from dva import __version__

        print(f"dva {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    from dva.compute.errors import FILE_ERRNOS, UsageError, require_known

    def refuse(text: str) -> int:
        say_error(f"error: {' '.join(text.splitlines())}")
        return 2

    tolerate_characters()
    status = 1  # where the output goes away before there is another
    try:
        with ended_by_signals(), output_may_go():
            require_known("command", command, COMMANDS)
            module = importlib.import_module(f"dva.cli.{command}_command")
            status = module.run(rest)
        return status
    except UsageError as error:
        return refuse(str(error))
    except KeyboardInterrupt:
        say_error("interrupted")
        return 130
    except OSError as error:
        if error.filename is None or error.errno not in FILE_ERRNOS:
            raise  # a fault of the program: its traceback helps to mend it
        return refuse(
            f"{error.filename}: {error.strerror}. Check the free space, the path and whether you "
            "may write there; what was saved before is whole."
        )


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: dva COMMAND ...\n\n"
        "Train robots to act from pixels through parallel differentiable simulation.\n\n"
        f"commands:\n{lines}\n\n"
        f"`dva COMMAND --help` explains its flags.\n\n{EXAMPLES}"
    ).rstrip()
