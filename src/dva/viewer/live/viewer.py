"""The viewer: lets time pass in a session, and shows it to whoever opens the page."""

import errno
import importlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dva.compute.errors import UsageError, one_line
from dva.envs import EnvConfig
from dva.runs import Run
from dva.tasks import Task
from dva.viewer.live.session import Session
from dva.viewer.live.source import find_source

__all__ = ["HOST", "PORT", "Viewer", "view"]

HOST, PORT = "127.0.0.1", 8080
FRAMES = 30.0
"""Pictures a second, at most."""
_TRIES = 50
"""Ports that are tried, one after the other."""
_KEEP_UP = 2.0
"""Seconds between looks for a new checkpoint."""


def view(
    what: str | Path | Run | Task,
    num_envs: int = 1,
    host: str = HOST,
    port: int = PORT,
    observe: Sequence[str] = EnvConfig.observe,
    image_size: int = EnvConfig.image_size,
    device: str | None = None,
    seed: int = 0,
    trust_code: bool = False,
) -> "Viewer":
    """Opens a viewer and returns at once; it goes on in a thread until it is closed.

    Args:
        what: a run or its folder; a task, its name, or MODULE:NAME.
        num_envs: number of robots.
        host: address to listen at; "0.0.0.0" lets other machines in, and whoever reaches the
            address may use the controls.
        port: port to listen at; if it is taken, the next free one is used. 0: any.
        observe: what is seen of a task; a run has its own.
        image_size: side of a task's images [pixels].
        device: "auto", "cpu" or "cuda"; None: what the run asked for, or auto.
        seed: of the first starts.
        trust_code: let modules be imported that a run's configuration names as MODULE:NAME.

    Returns:
        The viewer; `url` is its address, and a notebook shows it where a cell ends with it.

    Raises:
        UsageError: viser is not installed, there is no such run or task, the run has no checkpoint,
            or the address cannot be used.
    """
    page = _load_page()
    found = _find_port(host, port)
    session = Session(find_source(what, observe, image_size, device, seed, trust_code), num_envs)
    return Viewer(session, page, host, found)


class Viewer:
    """A session, its page, and the thread in which it goes on.

    While nobody has the page open, nothing moves. Also a context manager, which closes it.

    Args:
        session: what happens. From now on only the viewer's thread may touch it; see `do`.
        page: the module `dva.viewer.live.page`.
        host: address to listen at.
        port: port to listen at.
    """

    def __init__(self, session: Session, page: Any, host: str, port: int) -> None:
        self._session, self._host = session, host
        self._asked: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._fault: Exception | None = None
        self._page = page.Page(session, self.do, host, port)
        self._thread = threading.Thread(target=self._live, name="dva-viewer", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._page.port

    @property
    def url(self) -> str:
        """The address of the page."""
        everywhere = self._host in ("0.0.0.0", "::", "")
        host = socket.gethostname() if everywhere else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def session(self) -> Session:
        """What happens. Other threads than the viewer's may touch it by `do` alone."""
        return self._session

    def do(self, function: Callable[[], object]) -> None:
        """Lets the viewer's thread call something, such as `lambda: viewer.session.reset()`.

        A `UsageError` of it is shown on the page.
        """
        self._asked.put(function)

    def wait(self) -> None:
        """Waits until the viewer is closed.

        Raises:
            Exception: what ended the viewer's thread, if anything did.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)  # a wait without end could not be interrupted everywhere
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """Ends the viewer and lets go of its port; may be called again."""
        self._stopping.set()
        self._thread.join()
        self._page.stop()
        self._session.close()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """Shows the page in a notebook."""
        return (
            f'<iframe src="{self.url}" width="100%" height="720" style="border:0"></iframe>'
            f'<p><a href="{self.url}" target="_blank">{self.url}</a></p>'
        )

    # ------------------------------------------------------------------ the viewer's thread

    def _live(self) -> None:
        try:
            while not self._stopping.is_set():
                began = time.perf_counter()
                self._tick(began)
                self._stopping.wait(max(0.001, 1.0 / FRAMES - (time.perf_counter() - began)))
        except Exception as error:
            self._fault = error
            self._page.complain(f"The viewer has ended: {type(error).__name__}: {one_line(error)}")

    def _tick(self, now: float) -> None:
        """Does what pages ask for, lets time pass, and shows it."""
        changed = self._obey()
        session, page = self._session, self._page
        if page.watched and session.playing:
            changed |= self._pass_time(now)
        else:
            self._clock = now
        if session.follows_training and now - self._looked > _KEEP_UP:
            self._looked = now
            if session.is_outdated():
                chosen = session.loaded
                assert chosen is not None
                self.do(lambda: session.choose_checkpoint(chosen.checkpoint))
        page.show(now, changed)

    def _obey(self) -> bool:
        """Calls what was asked for; returns whether there was anything."""
        called = False
        while True:
            try:
                function = self._asked.get_nowait()
            except queue.Empty:
                return called
            called = True
            try:
                function()
            except UsageError as error:
                self._page.complain(str(error))

    _clock = 0.0
    """Moment up to which time has passed in the session."""
    _looked = 0.0

    def _pass_time(self, now: float) -> bool:
        """Makes the steps that are due; those for which there is no time are left out."""
        session = self._session
        seconds = session.env.task.control_dt / session.speed
        deadline = time.perf_counter() + 1.0 / FRAMES
        stepped = False
        while self._clock + seconds <= now:
            session.step()
            stepped = True
            self._clock += seconds
            if time.perf_counter() > deadline:
                self._clock = max(self._clock, now)
        return stepped


def _load_page() -> Any:
    """Imports the page, which needs viser.

    Raises:
        UsageError: viser is not installed.
    """
    try:
        importlib.import_module("viser")
    except ImportError as error:
        raise UsageError(
            f"The viewer needs viser, which cannot be imported ({one_line(error)}). Install it: "
            "pip install 'dva-rl[view]', in a checkout pip install -e '.[view]'."
        ) from error
    return importlib.import_module("dva.viewer.live.page")


def _find_port(host: str, port: int) -> int:
    """Finds a free port, from the one asked for on.

    Raises:
        UsageError: the host is not of this machine, or no port is free.
    """
    if not 0 <= port < 65536:
        raise UsageError(f"port is {port}; it must be from 0 to 65535, where 0 takes any.")
    for candidate in range(port, min(port + _TRIES, 65536)):
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise UsageError(
                f"host is {host!r}, which is no address ({one_line(error)}). Give 127.0.0.1, or "
                "0.0.0.0 to let other machines in."
            ) from error
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise UsageError(
                    f"{host}:{candidate} cannot be listened at ({one_line(error)}). Give another "
                    "--host or --port."
                ) from error
            return probe.getsockname()[1]
    raise UsageError(
        f"The ports {port} to {candidate} of {host} are taken. Give another --port, or 0 for any."
    )
