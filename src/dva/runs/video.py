"""Videos: H.264 MP4 files that every browser and player opens."""

from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from dva.compute.errors import UsageError

__all__ = ["VideoWriter", "tile"]


GAP = 2
"""Pixels between tiles: floors would run into one another."""


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
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise UsageError(f"Video file {str(path)!r} must end in .mp4.")
        self.fps = fps
        self._partial = self.path.with_name(f".{self.path.stem}.partial.mp4")
        self._process = None

    def add(self, frame: torch.Tensor) -> None:
        """Appends one frame, uint8 (3, H, W); all frames have one size."""
        array = np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())
        if self._process is None:
            self._process = self._open(array.shape[1], array.shape[0])
        self._process.send(array)

    def _open(self, width: int, height: int):
        import imageio_ffmpeg

        self.path.parent.mkdir(parents=True, exist_ok=True)
        process = imageio_ffmpeg.write_frames(
            str(self._partial),
            (width, height),
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            fps=self.fps,  # type: ignore[arg-type]  # ffmpeg takes fractions as well
            codec="libx264",
            quality=7,
            macro_block_size=2,  # yuv420p needs even sides
            ffmpeg_log_level="error",
            output_params=["-movflags", "+faststart"],  # plays in a browser while it loads
        )
        process.send(None)
        return process

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.close()
            if kind is None:
                self._partial.replace(self.path)
            else:
                self._partial.unlink(missing_ok=True)
