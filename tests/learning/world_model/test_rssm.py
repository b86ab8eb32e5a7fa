"""The recurrent state-space model: its unit, and what its latent states depend on."""

import pytest
import torch
from small_dreamer import SMALLEST

from dva.learning.world_model.rssm import BlockGru, Latent, Rssm

BATCH, LENGTH, EMBEDDING, ACTIONS = 3, 7, 5, 2


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rssm() -> Rssm:
    torch.manual_seed(0)
    return Rssm(EMBEDDING, ACTIONS, SMALLEST)


@pytest.fixture
def sequences() -> dict[str, torch.Tensor]:
    uniform = torch.rand(
        BATCH, LENGTH, SMALLEST.categoricals, generator=torch.Generator().manual_seed(3)
    )
    return {
        "embedding": drawn(BATCH, LENGTH, EMBEDDING),
        "action": drawn(BATCH, LENGTH, ACTIONS, seed=1).clamp(-1.0, 1.0),
        "first": torch.zeros(BATCH, LENGTH, dtype=torch.bool),
        "uniform": uniform,
    }


def test_the_block_gru_is_a_gru_with_block_diagonal_weights() -> None:
    torch.manual_seed(0)
    inputs, size, blocks = 5, 12, 3
    gru = BlockGru(inputs, size, blocks)
    for parameter in gru.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x, h = drawn(4, inputs), drawn(4, size, seed=1)
    recur = torch.block_diag(*gru.recur.weight)
    hidden = x @ gru.read.weight.T + h @ recur
    hidden = hidden / (hidden.square().mean(-1, keepdim=True) + 1e-4).sqrt() * gru.norm.scale
    hidden = hidden * torch.sigmoid(hidden)
    # Each block's outputs are its part of reset, candidate and update, one after the other.
    part = size // blocks
    assert gru.gates.bias is not None
    weight = gru.gates.weight.view(blocks, part, 3, part)
    bias = gru.gates.bias.view(blocks, 3, part)
    reset, candidate, update = (
        hidden @ torch.block_diag(*weight[:, :, i]) + bias[:, i].flatten() for i in range(3)
    )
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    update = torch.sigmoid(update - 1.0)
    torch.testing.assert_close(gru(x, h), update * candidate + (1.0 - update) * h)


def test_shapes_and_one_hot_states(rssm: Rssm, sequences: dict[str, torch.Tensor]) -> None:
    found = rssm.observe(**sequences)
    shape = (SMALLEST.categoricals, SMALLEST.classes)
    assert found.latent.deter.shape == (BATCH, LENGTH, SMALLEST.deter)
    assert found.posterior.shape == found.prior.shape == (BATCH, LENGTH, *shape)
    assert found.latent.features.shape == (BATCH, LENGTH, rssm.feature_size)
    hot = found.latent.stoch.unflatten(-1, shape)
    torch.testing.assert_close(hot.amax(-1), torch.ones(BATCH, LENGTH, SMALLEST.categoricals))
    torch.testing.assert_close(found.posterior.sum(-1), hot.sum(-1))
    # Mixed with the uniform distribution, no class is rarer than this.
    assert found.prior.min() >= 0.01 / SMALLEST.classes - 1e-6


def test_sequences_are_single_steps_one_after_the_other(
    rssm: Rssm, sequences: dict[str, torch.Tensor]
) -> None:
    found = rssm.observe(**sequences)
    state, action = rssm.initial(BATCH), torch.zeros(BATCH, ACTIONS)
    for t in range(LENGTH):
        state = rssm.observe_one(
            state, action, sequences["embedding"][:, t], sequences["uniform"][:, t]
        )
        torch.testing.assert_close(state.deter, found.latent.deter[:, t])
        torch.testing.assert_close(state.stoch, found.latent.stoch[:, t])
        action = sequences["action"][:, t]


def test_imagination_draws_from_the_prior(rssm: Rssm, sequences: dict[str, torch.Tensor]) -> None:
    found = rssm.observe(**sequences)
    state = Latent(found.latent.deter[:, 2], found.latent.stoch[:, 2])
    after = rssm.imagine(state, sequences["action"][:, 2], sequences["uniform"][:, 3])
    torch.testing.assert_close(after.deter, found.latent.deter[:, 3])
    many = 4_000
    repeated = Latent(state.deter[:1].expand(many, -1), state.stoch[:1].expand(many, -1))
    uniform = torch.rand(many, SMALLEST.categoricals, generator=torch.Generator().manual_seed(0))
    drawn_states = rssm.imagine(repeated, sequences["action"][:1, 2].expand(many, -1), uniform)
    frequencies = drawn_states.stoch.mean(0).view(SMALLEST.categoricals, SMALLEST.classes)
    torch.testing.assert_close(frequencies, found.prior[0, 3], atol=0.03, rtol=0.0)


def test_the_first_slot_forgets_everything_before(
    rssm: Rssm, sequences: dict[str, torch.Tensor]
) -> None:
    at = 3
    first = sequences["first"].clone()
    first[1, at] = True
    found = rssm.observe(**{**sequences, "first": first})
    # What comes before does not matter to the second sequence, and does to the others.
    changed = {
        name: torch.cat([drawn(*x[:, :at].shape, seed=9), x[:, at:]], 1) if x.dtype == torch.float32
        else x
        for name, x in sequences.items()
    }  # fmt: skip
    changed["uniform"] = torch.cat(
        [1.0 - sequences["uniform"][:, :at], changed["uniform"][:, at:]], 1
    )
    other = rssm.observe(**{**changed, "first": first})
    for one, two in zip(found.latent, other.latent, strict=True):
        assert torch.equal(one[1, at:], two[1, at:])
    assert not torch.allclose(found.latent.deter[0, at:], other.latent.deter[0, at:])
    # It is as if the sequence had begun there.
    rest = rssm.observe(**{name: x[:, at:] for name, x in {**sequences, "first": first}.items()})
    torch.testing.assert_close(rest.latent.deter[1], found.latent.deter[1, at:])
    # And no gradient crosses.
    embedding = sequences["embedding"].clone().requires_grad_()
    late = rssm.observe(**{**sequences, "first": first, "embedding": embedding}).latent
    (gradient,) = torch.autograd.grad(
        late.deter[:, -1].sum() + late.stoch[:, -1, 0].sum(), embedding
    )
    assert gradient[1, :at].abs().max() == 0.0 and gradient[0, :at].abs().max() > 0.0
