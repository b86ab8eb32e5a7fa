"""Videos: H.264 MP4 files that every browser and player opens."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import imageio_ffmpeg
import numpy as np
import torch

from dva.compute.errors import FileError, UsageError, explain_file_errors, one_line

__all__ = ["VideoWriter", "tile"]


GAP = 2
"""Pixels between tiles: floors would otherwise run into one another."""
PATIENCE = 60.0
"""Seconds for which ffmpeg may do nothing before it counts as hanging."""


def tile(images: torch.Tensor) -> torch.Tensor:
    """Lays images (n, 3, H, W) out in the squarest grid, black between and behind them."""
    count, channels, height, width = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    grid = images.new_zeros(rows * columns, channels, height + GAP, width + GAP)
    grid[:count, :, :height, :width] = images
    grid = grid.reshape(rows, columns, channels, height + GAP, width + GAP)
    grid = grid.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    return grid[:, :-GAP, :-GAP]


class VideoWriter:
    """Writes uint8 frames (3, H, W) to an MP4 file (H.264, yuv420p).

    The file appears under its name only when it is complete. Use as a context manager.

    Args:
        path: file ending in .mp4.
        fps: frames a second; 1 / control_dt plays in real time.

    Raises:
        UsageError: the name does not end in .mp4.
        FileError: the file cannot be written, in `add` or at the end; nothing of it is left.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise UsageError(f"Video file {str(path)!r} must end in .mp4.")
        self.fps = fps
        self._partial = self.path.with_name(f".{self.path.stem}.partial.mp4")
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = tempfile.TemporaryFile()
        """What ffmpeg says; a pipe would have to be read while frames are written."""

    def add(self, frame: torch.Tensor) -> None:
        """Appends one frame, uint8 (3, H, W); all frames have one size."""
        array = np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())
        if self._process is None:
            self._process = self._start(array.shape[1], array.shape[0])
        try:
            self._send(array.data.cast("B"))
        except FileError:
            raise
        except OSError as error:  # ffmpeg has ended
            raise self._fault() from error

    def _send(self, data: memoryview) -> None:
        """Hands bytes to ffmpeg as it takes them."""
        assert self._process is not None and self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        while data:
            if not poll.poll(1000 * PATIENCE):
                raise self._hanging()
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(pipe, data) :]

    def _start(self, width: int, height: int) -> subprocess.Popen[bytes]:
        with explain_file_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()  # says what is wrong before ffmpeg does, and better
        rate = Fraction(self.fps).limit_denominator()
        raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i -"
        # yuv420p needs even sides; with its index in front, a file plays while it loads.
        coded = "-an -vf scale=ceil(iw/2)*2:ceil(ih/2)*2 -vcodec libx264 -pix_fmt yuv420p -crf 15"
        try:
            program = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise self._no_ffmpeg(error) from error
        command = [
            program, "-y", "-v", "error", *raw.split(), *coded.split(),
            "-movflags", "+faststart", str(self._partial.absolute()),
        ]  # fmt: skip
        try:
            process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
                process_group=0,  # Ctrl-C is for training, which decides what becomes of the video
            )
        except OSError as error:
            raise self._no_ffmpeg(error) from error
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)  # an ffmpeg that hangs takes nothing
        return process

    def _no_ffmpeg(self, error: Exception) -> FileError:
        return FileError(
            f"{self.path} cannot be written, because ffmpeg cannot be started: {one_line(error)}. "
            "Install imageio-ffmpeg again, or point IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264."
        )

    def _hanging(self) -> FileError:
        return FileError(
            f"{self.path} cannot be written: ffmpeg has done nothing for {PATIENCE:g} s. Check the "
            "disk, and `dva doctor`."
        )

    def _fault(self) -> FileError:
        """Returns an error with ffmpeg's own words."""
        self._messages.seek(0)
        text = one_line(self._messages.read().decode(errors="replace")) or "ffmpeg has ended"
        return FileError(
            f"{self.path} cannot be written: {text[-300:]}. Check the free space and the folder, "
            "or write elsewhere."
        )

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._process is not None:
                self._finish(self._process, complete=kind is None)
        finally:
            self._messages.close()
            with contextlib.suppress(OSError):  # it may never have been made
                self._partial.unlink()

    def _finish(self, process: subprocess.Popen[bytes], complete: bool) -> None:
        assert process.stdin is not None
        try:
            process.stdin.close()
        except OSError:  # its status tells
            pass
        if not complete:
            self._kill(process)
            return
        size = -1
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
                break
            before, size = size, self._partial.stat().st_size if self._partial.exists() else 0
            if size == before:
                self._kill(process)
                raise self._hanging()
        if process.returncode != 0:
            raise self._fault()
        with explain_file_errors(self.path):
            self._partial.replace(self.path)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        # With all that it has started, where a script stands for ffmpeg.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a disk may hold it for longer
            process.wait(5.0)
