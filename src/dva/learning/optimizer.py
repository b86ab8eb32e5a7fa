"""Adam with clipping, a linear schedule, and a guard against non-finite gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from dva.compute.distributed import ALONE, Group

__all__ = ["ClippedAdam", "GuardedOptimizer", "linear_learning_rate"]


def linear_learning_rate(first: float, final: float, done: int, planned: int) -> float:
    """Interpolates from `first` at 0 steps done to `final` at those planned, and stays there."""
    return first + (final - first) * min(done / planned, 1.0)


class GuardedOptimizer:
    """What optimizers share: parameters, a learning rate on the device, and gradients that are the
    mean over the processes of a group.

    Args:
        parameters: the parameters to train, float32.
        group: the processes whose gradients count; each has the gradient of a mean over as many
            samples.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], group: Group) -> None:
        self.parameters = list(parameters)
        self._group = group
        # On the device, so that a recorded update reads the rate of the present iteration.
        self._rate = torch.zeros((), device=self.parameters[0].device)

    def set_learning_rate(self, rate: float | Tensor) -> None:
        """Sets the learning rate of later updates, which is 0 before the first call: a number, or
        a tensor () on the device."""
        self._rate.fill_(rate)

    def zero_grad(self) -> None:
        """Drops the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def reduce_gradients(self) -> tuple[list[Tensor], Tensor]:
        """Replaces every gradient by its mean over the group.

        Returns:
            The gradients, and the norm of all of them ().

        Raises:
            RuntimeError: a parameter has no gradient.
        """
        # Contiguous, as parameters and moments are: the fused kernel goes through memory, whatever
        # the strides.
        gradients = [p.grad.contiguous() for p in self.parameters if p.grad is not None]
        if len(gradients) < len(self.parameters):
            raise RuntimeError("A parameter has no gradient. Compute all gradients before step().")
        gradients = self._group.means(gradients)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return gradients, nn.utils.get_total_norm(gradients)


class ClippedAdam(GuardedOptimizer):
    """Runs Adam on gradients clipped to a norm; skips an update with a non-finite gradient.

    The skip is decided on the device, so that training never waits for it. The gradient is the mean
    over the processes of a group, all of which decide and move alike.

    Args:
        parameters: the parameters to train, float32.
        betas: decay rates of the two moments.
        max_norm: largest norm of a gradient, to which a larger one is clipped.
        group: the processes whose gradients count; each has the gradient of a mean over as many
            samples.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float],
        max_norm: float,
        group: Group = ALONE,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, group)
        self.betas = betas
        self.max_norm = max_norm
        self.eps = eps
        device = self._rate.device
        self._state = {
            "step": [torch.zeros((), device=device) for _ in self.parameters],
            "exp_avg": [torch.zeros_like(p, requires_grad=False) for p in self.parameters],
            "exp_avg_sq": [torch.zeros_like(p, requires_grad=False) for p in self.parameters],
        }

    @torch.no_grad()
    def step(self) -> tuple[Tensor, Tensor]:
        """Clips the gradient and updates the parameters.

        Returns:
            The norm before clipping, and 1.0 if the update was skipped, else 0.0; both (), on the
            device.

        Raises:
            RuntimeError: a parameter has no gradient.
        """
        gradients, norm = self.reduce_gradients()
        skipped = (~torch.isfinite(norm)).float()
        # The fused kernel's switches for mixed precision do the work: it divides gradients by
        # grad_scale, and changes nothing, not even the step count, if found_inf is 1.
        adam(
            [*self.parameters],
            gradients,
            self._state["exp_avg"],
            self._state["exp_avg_sq"],
            [],
            self._state["step"],
            fused=True,
            grad_scale=((norm + 1e-6) / self.max_norm).clamp(min=1.0),
            found_inf=skipped,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self._rate,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )
        return norm, skipped

    def tensors(self) -> list[Tensor]:
        """Returns all that a step changes, no copies: parameters, moments, step counts."""
        return [*self.parameters, *(value for values in self._state.values() for value in values)]

    def state_dict(self) -> dict[str, Tensor]:
        """Returns moments and step counts, named "<parameter index>.<entry>"."""
        return {
            f"{index}.{name}": value.detach().clone()
            for name, values in self._state.items()
            for index, value in enumerate(values)
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned; entries that are missing start at zero."""
        for values in self._state.values():
            for value in values:
                value.zero_()
        for key, value in state.items():
            index, name = key.split(".")
            self._state[name][int(index)].copy_(value)
