"""TensorBoard events, written by the thread that trains: a fault reaches the caller at once.

TensorBoard's own writer hands them to a thread of its own, in which a full disk ends in a traceback
and later, or never, in an error.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]
from tensorboard.summary.writer.record_writer import RecordWriter

from dva.compute.errors import explain_file_errors

__all__ = ["EventWriter"]


class EventWriter:
    """Writes scalars to a new event file.

    Args:
        folder: where to; made if need be.
        first_step: TensorBoard forgets what earlier files of the folder hold from this step on.

    Raises:
        FileError: the file cannot be written, here and in every method.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        now = time.time()
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}.{os.getpid()}.0"
        with explain_file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / name).open("xb")
        self._writer = RecordWriter(self._file)
        try:
            self._write(Event(wall_time=now, file_version="brain.Event:2"))
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=now, step=first_step, session_log=start))
            self.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Writes the scalars of one step."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def flush(self) -> None:
        """Hands everything written to the operating system."""
        with explain_file_errors(self._folder):
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        with explain_file_errors(self._folder):
            self._file.close()

    def _write(self, event: Event) -> None:
        with explain_file_errors(self._folder):
            self._writer.write(event.SerializeToString())
