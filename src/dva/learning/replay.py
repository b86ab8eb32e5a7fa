"""The last rollouts, to learn from a mixture of them: a rollout's frames are kept once each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dva.compute.distributed import ALONE, Group
from dva.compute.files import file_digest, write_tensors
from dva.envs.frames import FrameBuffer
from dva.spec import ObservationSpec

__all__ = ["RolloutReplay"]

Piece = tuple[int, int, str]
"""A file: its first rollout, one beyond its last, and its digest."""
_STATES = ".states"
"""Key of the states; no entry has such a name."""


class RolloutReplay:
    """Keeps what a policy saw in the last rollouts, and the states. See `LargeState`.

    All of it lies in fixed memory on the device, and the place of the next rollout too, so that
    adding and sampling can be recorded as CUDA graphs. Of several processes each keeps what its own
    environments showed, and what is saved is that of all.

    Args:
        spec: what the policy sees.
        state_size: O.
        num_envs: N of this process.
        horizon: h, steps of a rollout.
        rollouts: number R of rollouts that it holds.
        device: where they lie.
        group: the processes that train together.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        state_size: int,
        num_envs: int,
        horizon: int,
        rollouts: int,
        device: torch.device,
        group: Group = ALONE,
    ) -> None:
        self.spec, self.rollouts, self.samples = spec, rollouts, num_envs * horizon
        self._group = group
        self.count = torch.zeros(1, dtype=torch.int64, device=device)
        """Rollouts added so far, (1,)."""
        self._tensors = {_STATES: torch.zeros(rollouts, self.samples, state_size, device=device)}
        for entry in spec.vectors:
            shape = (rollouts, self.samples, *entry.stacked_shape)
            self._tensors[entry.name] = torch.zeros(shape, dtype=entry.torch_dtype, device=device)
        for entry in spec.images:
            rows = (horizon + entry.frame_stack - 1) * num_envs
            self._tensors[f"{entry.name}.frames"] = torch.zeros(
                (rollouts, rows, *entry.shape), dtype=entry.torch_dtype, device=device
            )
            self._tensors[f"{entry.name}.index"] = torch.zeros(
                (rollouts, self.samples, entry.frame_stack), dtype=torch.int64, device=device
            )
        self._pieces: list[Piece] = []
        """The files that hold some of the rollouts that are kept."""

    def add(
        self, frames: Mapping[str, FrameBuffer], vectors: Mapping[str, Tensor], states: Tensor
    ) -> None:
        """Adds a rollout in the place of the oldest.

        Args:
            frames: the images that the policy saw, by name.
            vectors: (h, N, n), not normalised, by name.
            states: (h, N, O), not normalised.
        """
        place = self.count % self.rollouts
        new = {_STATES: states.flatten(0, 1)}
        new |= {name: value.flatten(0, 1) for name, value in vectors.items()}
        for name, buffer in frames.items():
            new[f"{name}.frames"] = buffer.frames[:-1].flatten(0, 1)  # no sample has the last
            new[f"{name}.index"] = buffer.rows[: self.samples]
        for name, value in new.items():
            self._tensors[name].index_copy_(0, place, value[None])
        self.count += 1

    def sample(
        self, size: int, generator: torch.Generator, newest: bool = False
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Draws samples at random, with replacement.

        Args:
            size: B of this process.
            generator: draws them.
            newest: only from the rollout added last.

        Returns:
            What the policy saw, (B, ...) by name, vectors not normalised; and the states (B, O).
        """
        shape = (2, size * self._group.size)
        draw = torch.rand(shape, generator=generator, device=self.count.device)
        draw = draw[:, self._group.rows]
        held = torch.clamp(self.count, max=self.rollouts)
        rollout = (draw[0] * held).long()
        if newest:
            rollout = ((self.count - 1) % self.rollouts).expand(size)
        at = (draw[1] * self.samples).long()
        seen = {entry.name: self._tensors[entry.name][rollout, at] for entry in self.spec.vectors}
        for entry in self.spec.images:
            frames = self._tensors[f"{entry.name}.frames"]
            rows = self._tensors[f"{entry.name}.index"][rollout, at]
            rows = (rows + rollout[:, None] * frames.shape[1]).flatten()
            stacks = frames.flatten(0, 1).index_select(0, rows)
            seen[entry.name] = stacks.view(size, *entry.stacked_shape)
        return seen, self._tensors[_STATES][rollout, at]

    # ------------------------------------------------------------------ saving

    def save(self, folder: Path, live: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Writes the rollouts added since the last call as one file; see `LargeState.save`."""
        count = int(self.count)
        oldest = max(0, count - self.rollouts)
        first = max(oldest, self._pieces[-1][1] if self._pieces else 0)
        if first < count:
            places = torch.arange(first, count, device=self.count.device) % self.rollouts
            tensors = {
                name: self._join(name, value[places].cpu()) for name, value in self._tensors.items()
            }
            own = self._group.rank == 0
            digest = write_tensors(_path(folder, first, count), tensors) if own else ""
            self._pieces.append((first, count, digest))
        self._pieces = [piece for piece in self._pieces if piece[1] > oldest]
        if self._group.rank == 0:
            marked = [marker["pieces"] for marker in live] + [self._pieces]
            needed = {_path(folder, *piece[:2]) for pieces in marked for piece in pieces}
            for path in folder.iterdir():
                if path not in needed:
                    path.unlink()
        return {"count": count, "pieces": [list(piece) for piece in self._pieces]}

    def load(self, folder: Path, marker: Mapping[str, Any]) -> None:
        """Restores the rollouts of a marker; see `LargeState.load`."""
        count = int(marker["count"])
        pieces = [(int(first), int(last), str(digest)) for first, last, digest in marker["pieces"]]
        oldest = max(0, count - self.rollouts)
        covered = [number for a, b, _ in pieces for number in range(a, b) if number >= oldest]
        if covered != list(range(oldest, count)):
            raise ValueError(f"the pieces {pieces} are not the rollouts {oldest} to {count}")
        for first, last, digest in pieces:
            path = _path(folder, first, last)
            if file_digest(path) != digest:
                raise ValueError(f"{path.name} is not what was written: its digest is another")
            tensors = load_file(path)
            for name, memory in self._tensors.items():
                value = tensors[name]
                rows = memory.shape[1] * self._group.size
                if value.shape != (last - first, rows, *memory.shape[2:]):
                    raise ValueError(f"{name} in {path.name} has another shape")
                value = self._own(name, value)
                for number in range(max(first, oldest), last):
                    memory[number % self.rollouts].copy_(value[number - first])
        self.count.fill_(count)
        self._pieces = pieces

    def _join(self, name: str, rows: Tensor) -> Tensor:
        """Joins rows (r, steps * N, ...) of all processes; those of an index number other rows."""
        if name.endswith(".index"):
            rows = rows * self._group.size + self._group.rank
        return self._group.gather(rows, 1)

    def _own(self, name: str, rows: Tensor) -> Tensor:
        """Picks this process' rows; undoes `_join`."""
        own = rows[:, self._group.rows]
        return own // self._group.size if name.endswith(".index") else own


def _path(folder: Path, first: int, last: int) -> Path:
    return folder / f"rollouts-{first:09d}-{last:09d}.safetensors"
