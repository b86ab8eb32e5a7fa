"""Muon: orthogonal updates of matrices."""

import math

import pytest
import torch
from torch import nn

from dva.learning.muon import Muon, orthogonalize


def iterated(value: float) -> float:
    """What five steps of the iteration make of one singular value."""
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (1, 7)])
def test_singular_values_are_iterated_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    norm = float(matrix.norm())
    wanted = torch.tensor([iterated(float(value) / norm) for value in values])
    expected = left @ torch.diag(wanted) @ right
    torch.testing.assert_close(orthogonalize(matrix), expected, rtol=1e-3, atol=1e-4)
    assert ((wanted > 0.6) & (wanted < 1.3)).all()


def test_what_is_missing_from_a_matrix_stays_missing() -> None:
    generator = torch.Generator().manual_seed(4)
    thin = [torch.randn(shape, generator=generator) for shape in ((64, 3), (3, 2000))]
    found = orthogonalize(thin[0] @ thin[1])
    values = torch.linalg.svdvals(found)
    assert (values[:3] > 0.6).all() and values[0] < 1.3 and values[3] < 0.05


def test_nothing_comes_of_nothing() -> None:
    assert not orthogonalize(torch.zeros(3, 4)).any()


def of_layer(layer: nn.Linear) -> Muon:
    (_, weight), (_, bias) = layer.named_parameters()
    return Muon([weight], [bias], 1.0)


def layer_with(gradient: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.weight.grad, layer.bias.grad = gradient, torch.zeros(2)
    return layer


def test_steps_follow_the_momentum_of_the_gradients() -> None:
    gradients = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1))
    layer = layer_with(gradients[0])
    optimizer = of_layer(layer)
    optimizer.set_learning_rate(0.1)
    expected = layer.weight.detach().clone()
    optimizer.step()
    expected -= 0.1 * orthogonalize(1.95 * gradients[0])
    torch.testing.assert_close(layer.weight.detach(), expected)
    layer.weight.grad, layer.bias.grad = gradients[1], torch.zeros(2)
    optimizer.step()
    momentum = 0.95 * gradients[0] + gradients[1]
    expected -= 0.1 * orthogonalize(gradients[1] + 0.95 * momentum)
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_the_size_of_a_gradient_does_not_count() -> None:
    gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    moved = []
    for factor in (1e-3, 1e3):
        layer = layer_with(factor * gradient)
        before = layer.weight.detach().clone()
        optimizer = of_layer(layer)
        optimizer.set_learning_rate(0.1)
        optimizer.step()
        moved.append(layer.weight.detach() - before)
    torch.testing.assert_close(*moved)


def test_a_tall_matrix_moves_further() -> None:
    weight = nn.Parameter(torch.zeros(8, 2))
    weight.grad = torch.randn(8, 2, generator=torch.Generator().manual_seed(3))
    bias = nn.Parameter(torch.zeros(1))
    bias.grad = torch.zeros(1)
    optimizer = Muon([weight], [bias], 1.0)
    optimizer.set_learning_rate(0.1)
    expected = -0.1 * 2.0 * orthogonalize(weight.grad)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), expected)


def test_a_nonfinite_gradient_changes_nothing() -> None:
    layer = layer_with(torch.ones(2, 3))
    optimizer = of_layer(layer)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    before = [p.detach().clone() for p in layer.parameters()]
    state = optimizer.state_dict()
    for spoiled in ("weight", "bias"):
        for name, parameter in layer.named_parameters():
            value = math.nan if name == spoiled else 1.0
            parameter.grad = torch.full_like(parameter, value)
        norm, skipped = optimizer.step()
        assert skipped == 1.0 and not torch.isfinite(norm)
        assert all(torch.equal(*pair) for pair in zip(layer.parameters(), before, strict=True))
    for name, value in optimizer.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_it_goes_on_from_what_was_saved() -> None:
    gradient = torch.ones(2, 3)
    layer, other = layer_with(gradient), layer_with(gradient)
    optimizer = of_layer(layer)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    other.load_state_dict(layer.state_dict())
    resumed = of_layer(other)
    resumed.load_state_dict(optimizer.state_dict())
    resumed.set_learning_rate(0.1)
    for one, its in ((layer, optimizer), (other, resumed)):
        one.weight.grad, one.bias.grad = 0.5 * gradient, torch.ones(2)
        its.step()
    assert torch.equal(layer.weight, other.weight) and torch.equal(layer.bias, other.bias)


def test_a_missing_gradient_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no gradient"):
        layer = nn.Linear(3, 2)
        of_layer(layer).step()
