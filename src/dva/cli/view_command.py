"""`dva view`: shows a run or a task in the browser."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import tyro

from dva.cli.flags import parse
from dva.envs import EnvConfig
from dva.viewer import view
from dva.viewer.live.viewer import HOST, PORT

__all__ = ["run"]


@dataclasses.dataclass
class ViewFlags:
    """Show a robot in the browser, live: in 3-D, what its policy sees, rewards and actions.

    A page with controls is served until Ctrl-C ends it. On a server without a screen, forward its
    port: ssh -L 8080:localhost:8080 SERVER.
    """

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|TASK")]
    """Folder of a run, or a task; `dva list` shows all tasks. MODULE:NAME for one of your own."""
    num_envs: int = 1
    """Number of robots, side by side."""
    host: str = HOST
    """Address to listen at: 0.0.0.0 lets other machines in, and whoever reaches it may use the
    controls."""
    port: int = PORT
    """Port to listen at; if it is taken, the next free one is used. 0: any."""
    observe: tuple[str, ...] = EnvConfig.observe
    """What is seen of a task, as in `dva train`; a run has its own."""
    image_size: int = EnvConfig.image_size
    """Height and width of a task's images, pixels; a run has its own."""
    seed: int = 0
    """Seed of the first starts."""
    device: str | None = None
    """auto, cpu or cuda. None: what the run asked for, or auto."""
    trust_code: bool = False
    """Import code of the run's own that its configuration names as MODULE:NAME."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(ViewFlags, arguments, "view")
    options = dataclasses.asdict(flags)
    with view(options.pop("what"), **options) as viewer:
        try:
            if flags.port not in (0, viewer.port):
                print(f"Port {flags.port} is taken; this is port {viewer.port}.", flush=True)
            print(f"viewer   {viewer.url}   (Ctrl-C ends it)", flush=True)
            viewer.wait()
        except KeyboardInterrupt:
            print("\nended")
    return 0
