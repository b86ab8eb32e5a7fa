"""Adam with clipping, a linear schedule, and a guard against non-finite gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["ClippedAdam", "linear_learning_rate"]


def linear_learning_rate(first: float, final: float, iteration: int, planned: int) -> float:
    """Interpolates from `first` at iteration 0 to `final` at `planned`, and stays there."""
    return first + (final - first) * min(iteration / planned, 1.0)


class ClippedAdam:
    """Adam on gradients clipped to a norm; an update with a non-finite gradient is skipped.

    The skip is decided on the device, so that training never waits for it.

    Args:
        parameters: what is trained, float32.
        betas: decay rates of the two moments.
        max_norm: norm to which the gradient is clipped.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], betas: tuple[float, float], max_norm: float
    ) -> None:
        self.parameters = list(parameters)
        self.max_norm = max_norm
        device = self.parameters[0].device
        # On the device, so that a recorded update reads the rate of its iteration.
        self._rate = torch.zeros((), device=device)
        self._adam = torch.optim.Adam(
            self.parameters,
            lr=self._rate,
            betas=betas,
            fused=True,
            capturable=device.type == "cuda",
        )

    def set_learning_rate(self, rate: float) -> None:
        """Sets the rate of the updates that follow, 0 before the first call."""
        self._rate.fill_(rate)

    def zero_grad(self) -> None:
        """Drops the gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self) -> tuple[Tensor, Tensor]:
        """Clips the gradient and updates the parameters.

        Returns:
            The norm before clipping, and 1.0 where the update was skipped, both (), on the device.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        skipped = (~torch.isfinite(norm)).float()
        # The fused kernel's own switch, made for mixed precision: parameters, moments and step
        # count stay as they are.
        self._adam.found_inf = skipped  # type: ignore[attr-defined]
        self._adam.grad_scale = None  # type: ignore[attr-defined]
        self._adam.step()
        return norm, skipped

    def state_dict(self) -> dict[str, Tensor]:
        """Returns moments and step counts, named "<parameter index>.<entry>"."""
        return {
            f"{index}.{name}": value.detach().clone()
            for index, parameter in enumerate(self.parameters)
            for name, value in self._adam.state.get(parameter, {}).items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self._adam.state.clear()
        for key, value in state.items():
            index, name = key.split(".")
            parameter = self.parameters[int(index)]
            self._adam.state[parameter][name] = value.to(parameter.device).clone()
