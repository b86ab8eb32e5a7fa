"""The physics state of many robots, as any simulator carries it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

__all__ = ["State"]

_COORDINATES = ("joint_q", "joint_qd")


@dataclass(frozen=True, eq=False)
class State:
    """Where N robots are and how they move. It is a value: every method returns another state.

    Methods keep torch's graph unless they say otherwise.

    Raises:
        ValueError: something carried is named "joint_q" or "joint_qd".
    """

    joint_q: torch.Tensor
    """(N, nq) generalized positions [m, rad]; a free joint is the position and quaternion
    (x, y, z, w) of its body, world frame; a ball joint the quaternion by which it is turned."""
    joint_qd: torch.Tensor
    """(N, nd) generalized velocities [m/s, rad/s]; a free joint is the velocity of its body's
    centre of mass and the angular velocity, both in world axes; a ball joint the angular velocity
    against the body that carries it, in the axes of its own body."""
    carried: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """What else a simulator carries from step to step, each (N, ...): warm starts of its contact
    solver, activations of muscles."""

    def __post_init__(self) -> None:
        for name in _COORDINATES:
            if name in self.carried:
                raise ValueError(
                    f"A state carries {name!r}, the name of its own coordinates. Give what the "
                    "simulator carries another name."
                )

    @property
    def num_envs(self) -> int:
        """N."""
        return len(self.joint_q)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Names the tensors themselves, no copies: "joint_q", "joint_qd" and what is carried."""
        return {"joint_q": self.joint_q, "joint_qd": self.joint_qd, **self.carried}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> "State":
        """Makes a state of what `tensors` returned, no copies."""
        rest = {name: x for name, x in tensors.items() if name not in _COORDINATES}
        return cls(tensors["joint_q"], tensors["joint_qd"], rest)

    def detach(self) -> "State":
        """Returns the same numbers without a graph."""
        return self._map(torch.Tensor.detach)

    def clone(self) -> "State":
        """Copies the state."""
        return self._map(torch.Tensor.clone)

    def select(self, rows: torch.Tensor) -> "State":
        """Returns the robots with these indices (n,), or where this mask (N,) is True."""
        return self._map(lambda tensor: tensor[rows])

    def replace(self, rows: torch.Tensor, others: "State") -> "State":
        """Returns this state with the robots of these indices (n,) in the n states of `others`."""
        theirs = others.tensors()
        return State.from_tensors(
            {name: x.index_copy(0, rows, theirs[name]) for name, x in self.tensors().items()}
        )

    def where(self, mask: torch.Tensor, other: "State") -> "State":
        """Returns the rows of `other` where `mask`, bool (N,), is True, and this state's elsewhere.

        No gradient crosses from one side to the other.

        Raises:
            ValueError: the two carry different things.
        """
        ours, theirs = self.tensors(), other.tensors()
        if ours.keys() != theirs.keys():
            raise ValueError(
                f"A state that carries {sorted(theirs)} cannot replace rows of one that carries "
                f"{sorted(ours)}. Make both with the same simulator's new_state()."
            )
        mixed = {
            name: torch.where(mask.view(-1, *[1] * (own.dim() - 1)), theirs[name], own)
            for name, own in ours.items()
        }
        return State.from_tensors(mixed)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "State":
        return State.from_tensors({name: function(x) for name, x in self.tensors().items()})
