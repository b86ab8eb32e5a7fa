"""The files of a replay of single steps: pieces that are written once."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["StepFiles"]

PIECE_BYTES = 2**28
"""Largest size of a piece in bytes: as much memory is taken beside the replay to write it."""


class StepFiles:
    """Writes rings of slots to a folder, piece by piece, and reads them back.

    A piece holds, of each of N environments, the slots from the first that is not yet in a piece to
    the newest. The newest one waits for its action, so it is also the first of the next piece,
    which counts.

    Args:
        held: (N slots, ...) by name, the slots of an environment one after the other.
        first_row: (N,), where those of each environment begin.
        slots: number of slots of an environment.
    """

    def __init__(self, held: Mapping[str, Tensor], first_row: Tensor, slots: int) -> None:
        self._held, self._first_row, self._slots = held, first_row.cpu(), slots
        self._bytes = sum(x[0].numel() * x.element_size() for x in held.values())
        self._written = torch.zeros_like(self._first_row)
        """(N,) the first slot that is not in a piece, or only without its action."""
        self._pieces: dict[int, Tensor] = {}
        """For each piece that is needed by its number: one beyond its last slots, (N,)."""

    def forget(self) -> None:
        """Begins anew: what was written is of no use."""
        self._written.zero_()
        self._pieces.clear()

    def save(
        self, folder: Path, live: Sequence[Mapping[str, Any]], counts: Sequence[int]
    ) -> dict[str, Any]:
        """Writes what is new; deletes pieces that neither this moment nor a live marker needs.

        Args:
            folder: where to.
            live: markers whose pieces stay.
            counts: slots filled so far, of each environment.

        Returns:
            {"pieces": numbers of the pieces that hold the slots}.
        """
        count = torch.tensor(counts)
        oldest = (count - self._slots).clamp(min=0)
        marked = {number for marker in live for number in marker["pieces"]}
        number = max([0, *marked, *self._pieces])
        largest = max(2, PIECE_BYTES // (self._bytes * len(counts)))
        first = torch.maximum(self._written, oldest)
        while not self._pieces or bool((first < count - 1).any()):
            number += 1
            stop = torch.minimum(first + largest, count)
            self._write(_path(folder, number), first, stop)
            self._pieces[number] = stop
            first = self._written = torch.minimum(stop, count - 1)
        self._pieces = {n: stop for n, stop in self._pieces.items() if (stop > oldest).any()}
        needed = {_path(folder, n) for n in marked | self._pieces.keys()}
        for path in folder.iterdir():
            if path not in needed:
                path.unlink()
        return {"pieces": sorted(self._pieces)}

    def load(self, folder: Path, pieces: Sequence[int], counts: Sequence[int]) -> None:
        """Reads the slots that pieces hold and that are not older than the ring.

        Raises:
            ValueError: they are not the slots up to `counts`, or of another shape.
        """
        count = torch.tensor(counts)
        oldest = (count - self._slots).clamp(min=0)
        self.forget()
        reached = oldest.clone()
        for number in sorted(pieces):
            path = _path(folder, number)
            tensors = load_file(path)
            first, stop = tensors["first"], tensors["stop"]
            gap = first.shape != count.shape or (first > reached).any() or (stop > count).any()
            if gap or self._shapes(tensors) != self._shapes(self._held, int((stop - first).sum())):
                raise ValueError(
                    f"{path.name} does not go on where the piece before ends, or is of a replay of "
                    "other shapes"
                )
            self._read(tensors, first, stop, oldest)
            self._pieces[number], reached = stop, torch.maximum(stop, oldest)
        if not torch.equal(reached, count):
            raise ValueError(
                f"the pieces {list(pieces)} end at the slots {reached.tolist()}, not at "
                f"{list(counts)}"
            )
        self._written = (count - 1).clamp(min=0)

    def _write(self, path: Path, first: Tensor, stop: Tensor) -> None:
        rows, _ = self._rows(first, stop)
        tensors = {name: x[rows.to(x.device)].cpu() for name, x in self._held.items()}
        part = path.with_suffix(".part")
        save_file({**tensors, "first": first.clone(), "stop": stop.clone()}, part)
        os.replace(part, path)

    def _read(
        self, tensors: Mapping[str, Tensor], first: Tensor, stop: Tensor, oldest: Tensor
    ) -> None:
        rows, slots = self._rows(first, stop)
        kept = slots >= oldest.repeat_interleave(stop - first)
        for name, memory in self._held.items():
            memory[rows[kept].to(memory.device)] = tensors[name][kept].to(memory.device)

    def _rows(self, first: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Lists the slots from `first` to before `stop`, (N,): their rows, and their numbers."""
        pairs = zip(first.tolist(), stop.tolist(), strict=True)
        slots = torch.cat([torch.arange(a, b) for a, b in pairs])
        offset = self._first_row.repeat_interleave(stop - first)
        return offset + slots % self._slots, slots

    def _shapes(self, tensors: Mapping[str, Tensor], rows: int | None = None) -> dict[str, Any]:
        found = {name: (tensors[name].dtype, tuple(tensors[name].shape)) for name in self._held}
        if rows is None:
            return found
        return {name: (dtype, (rows, *shape[1:])) for name, (dtype, shape) in found.items()}


def _path(folder: Path, number: int) -> Path:
    return folder / f"steps-{number:06d}.safetensors"
