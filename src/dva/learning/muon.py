"""Muon: momentum whose matrices are made orthogonal, for networks that images pass.

Nearly all that a layer of images reads is the same in every image, and the gradient of its weights
points along that. Adam follows it with every weight; an orthogonal update moves the layer as far
along what differs between images.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dva.compute.distributed import ALONE, Group
from dva.learning.optimizer import ClippedAdam, GuardedOptimizer
from dva.learning.state import add_prefix, strip_prefix
from dva.policies import Actor

__all__ = ["Muon", "muon_of_actor", "orthogonalize"]

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration: it takes singular values in (0, 1] to about 1, the small ones
fast, and leaves them between 0.7 and 1.2."""
_MOMENTUM = 0.95
_OTHERS = 0.05
"""Learning rate of the others, as a share of that of the hidden matrices."""
_BETAS = (0.9, 0.999)


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Brings the singular values of a matrix near 1 and keeps its singular vectors.

    All but the first and the last product are of the size of the smaller side. In less than float32
    the smallest eigenvalues of the first would be rounded to below zero, and grow.

    Args:
        matrix: (r, c), float32.
        steps: steps of the iteration.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if tall else matrix
    wide = wide / wide.norm().clamp(min=1e-15)
    first, second, third = _QUINTIC
    gram = wide @ wide.T
    eye = torch.eye(len(gram), device=gram.device)
    total = eye
    for _ in range(steps):
        factor = first * eye + second * gram + third * (gram @ gram)
        gram = factor @ gram @ factor
        total = factor @ total
    result = total @ wide
    return result.T if tall else result


class Muon(GuardedOptimizer):
    """Runs Muon on the matrices of hidden layers and Adam on other parameters.

    Its updates are as large for a small gradient as for a large one, so a layer whose outputs
    nothing normalises must not be among the hidden ones: they would grow without end where a
    gradient vanishes, as behind tanh. A convolution's weight is a matrix of its outputs and of all
    that each reads. Skips and recording are as with `ClippedAdam`.

    Args:
        hidden: weights of two axes or more, float32.
        others: all other parameters to train.
        max_norm: largest norm of the gradient of the others.
        group: the processes whose gradients count; each has the gradient of a mean over as many
            samples.
    """

    def __init__(
        self,
        hidden: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        max_norm: float,
        group: Group = ALONE,
    ) -> None:
        self._hidden = list(hidden)
        self._others = ClippedAdam(others, _BETAS, max_norm)
        super().__init__([*self._hidden, *self._others.parameters], group)
        self._momenta = [torch.zeros_like(p, requires_grad=False) for p in self._hidden]

    def set_learning_rate(self, rate: float | Tensor) -> None:
        """Sets the learning rate of the hidden matrices, and with it that of the others."""
        super().set_learning_rate(rate)
        self._others.set_learning_rate(rate * _OTHERS)

    @torch.no_grad()
    def step(self) -> tuple[Tensor, Tensor]:
        """Updates the parameters.

        Returns:
            The norm of the gradient, and 1.0 if the update was skipped, else 0.0; both (), on the
            device.

        Raises:
            RuntimeError: a parameter has no gradient.
        """
        gradients, norm = self.reduce_gradients()
        finite = torch.isfinite(norm)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            # The others' update is skipped with the rest.
            parameter.grad = torch.where(finite, gradient, torch.nan)
        for parameter, momentum in zip(self._hidden, self._momenta, strict=True):
            self._move(parameter, momentum, finite)
        self._others.step()
        return norm, (~finite).float()

    def _move(self, parameter: nn.Parameter, momentum: Tensor, finite: Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        momentum.copy_(torch.where(finite, _MOMENTUM * momentum + gradient, momentum))
        ahead = gradient + _MOMENTUM * momentum  # Nesterov
        update = orthogonalize(ahead.flatten(1))
        rows, columns = update.shape
        update = update * max(1.0, rows / columns) ** 0.5 * self._rate
        parameter.sub_(torch.where(finite, update, 0.0).view_as(parameter))

    def tensors(self) -> list[Tensor]:
        """Returns all that a step changes, no copies."""
        return [*self._hidden, *self._momenta, *self._others.tensors()]

    def state_dict(self) -> dict[str, Tensor]:
        """Returns momenta, moments and step counts."""
        momenta = {str(i): value.clone() for i, value in enumerate(self._momenta)}
        return {
            **add_prefix("momentum", momenta),
            **add_prefix("others", self._others.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned; entries that are missing start at zero."""
        for value in self._momenta:
            value.zero_()
        for index, value in strip_prefix("momentum", state).items():
            self._momenta[int(index)].copy_(value)
        self._others.load_state_dict(strip_prefix("others", state))


def muon_of_actor(actor: Actor, max_norm: float, group: Group = ALONE) -> Muon:
    """Makes Muon for an actor: all matrices but the last are hidden.

    Args:
        actor: its parameters are trained.
        max_norm, group: as for `Muon`.
    """
    last = actor.mean.weight
    hidden = [p for p in actor.parameters() if p.dim() >= 2 and p is not last]
    others = [p for p in actor.parameters() if p.dim() < 2 or p is last]
    return Muon(hidden, others, max_norm, group)
