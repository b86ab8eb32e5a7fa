import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dva.compute.precision import resolve_precision
from dva.policies import Actor, Critic, Encoder, RunningNormalizer, mlp
from dva.spec import Entry, ObservationSpec


def pixels_of(*shape: int) -> Entry:
    """An entry of three stacked colour images, stacked shape (9, H, W)."""
    return Entry("pixels", "image", (3, *shape), "uint8", 3, "", 0.0, 255.0)


def images(batch: int, shape: tuple[int, int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("size", "features"), [(84, 39_200), (48, 9_248), (16, 32)])
def test_encoder_has_the_sizes_of_drqv2(size: int, features: int) -> None:
    encoder = Encoder(pixels_of(size, size))
    assert encoder.output_size == features
    assert encoder(images(2, (9, size, size))).shape == (2, features)
    layers = [layer for layer in encoder.convolutions if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.stride for layer in layers] == [(2, 2), (1, 1), (1, 1), (1, 1)]


def test_encoder_starts_orthogonal_with_gain_sqrt_two_and_zero_bias() -> None:
    for layer in Encoder(pixels_of(20, 20)).convolutions:
        assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
        weight = layer.weight.flatten(1)
        torch.testing.assert_close(weight @ weight.T, 2.0 * torch.eye(32), atol=1e-5, rtol=1e-5)
        assert not layer.bias.any()


def test_encoder_equals_convolutions_of_centred_pixels() -> None:
    encoder = Encoder(pixels_of(20, 24))
    pixels = images(3, (9, 20, 24))
    x = pixels.float() / 255 - 0.5
    for layer in encoder.convolutions:
        x = F.relu(layer(x))
    expected = x.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(encoder(pixels), expected, atol=1e-5, rtol=1e-5)


def test_bfloat16_encoder_is_close_and_keeps_float32_gradients() -> None:
    torch.manual_seed(0)
    encoder = Encoder(pixels_of(20, 20))
    pixels = images(4, (9, 20, 20))
    exact = encoder(pixels)
    encoder.compute_dtype = torch.bfloat16
    coarse = encoder(pixels)
    assert coarse.dtype == torch.bfloat16
    assert (coarse - exact).norm() < 0.02 * exact.norm()
    coarse.float().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32 and parameter.is_contiguous()


def test_encoder_names_what_is_wrong_with_its_input() -> None:
    with pytest.raises(ValueError, match="14x14.*15 or more"):
        Encoder(pixels_of(14, 14))
    with pytest.raises(TypeError, match="int64.*uint8 or float32"):
        Encoder(pixels_of(16, 16))(torch.zeros(1, 9, 16, 16, dtype=torch.int64))


def test_precision_names_are_checked() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16
    assert resolve_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(ValueError, match="half.*auto, float32, bfloat16"):
        resolve_precision("half", cpu)  # type: ignore[arg-type]


VECTOR = Entry("state", "vector", (5,))
ANGLES = Entry("angles", "vector", (2,), frame_stack=2)


@pytest.mark.parametrize(
    "entries",
    [(pixels_of(16, 16),), (VECTOR,), (VECTOR, pixels_of(16, 16), ANGLES)],
)
def test_actor_shapes_and_initial_log_std(entries: tuple[Entry, ...]) -> None:
    actor = Actor(ObservationSpec(entries), 3, trunk_size=8, hidden=(16, 12))
    everything = {
        "pixels": images(4, (9, 16, 16)), "state": torch.randn(4, 5), "angles": torch.randn(4, 4),
    }  # fmt: skip
    mean, log_std = actor({entry.name: everything[entry.name] for entry in entries})
    assert mean.shape == (4, 3) and mean.dtype == torch.float32
    assert log_std.tolist() == [-1.0] * 3
    assert isinstance(actor.log_std, torch.nn.Parameter)


def test_actor_trunk_is_linear_norm_tanh() -> None:
    actor = Actor(ObservationSpec((pixels_of(16, 16),)), 2, trunk_size=8, hidden=())
    pixels = images(4, (9, 16, 16))
    trunk = actor.trunks["pixels"]
    features = trunk.norm(trunk.linear(trunk.encoder(pixels)))
    mean = actor({"pixels": pixels})[0]
    torch.testing.assert_close(mean, actor.mean(torch.tanh(features)))


def test_actor_trunk_starts_orthogonal_with_gain_one_and_zero_bias() -> None:
    linear = Actor(ObservationSpec((pixels_of(16, 16),)), 2, 8, ()).trunks["pixels"].linear
    torch.testing.assert_close(linear.weight @ linear.weight.T, torch.eye(8), atol=1e-5, rtol=1e-5)
    assert not linear.bias.any()


def test_a_centred_trunk_reads_what_differs_from_the_centre() -> None:
    spec = ObservationSpec((pixels_of(16, 16),))
    torch.manual_seed(0)
    plain = Actor(spec, 2, 8, ())
    torch.manual_seed(0)
    centred = Actor(spec, 2, 8, (), center_features=True)
    pixels = images(4, (9, 16, 16))
    assert torch.equal(plain({"pixels": pixels})[0], centred({"pixels": pixels})[0])
    centred.recenter({"pixels": pixels}, 1.0)
    trunk = centred.trunks["pixels"]
    features = trunk.encoder(pixels)
    expected = trunk.linear(features - features.mean(0))
    torch.testing.assert_close(trunk.embed(pixels, None), expected)
    assert trunk.embed(pixels, None).mean(0).abs().max() < 1e-6
    centred.recenter({"pixels": pixels[:1]}, 0.25)
    moved = 0.75 * features.mean(0) + 0.25 * features[0]
    assert trunk.center is not None
    torch.testing.assert_close(trunk.center, moved)
    assert "center" not in " ".join(plain.state_dict())


def test_actor_joins_features_of_images_and_vectors() -> None:
    depth = Entry("depth", "image", (1, 16, 20), "float32", 2, "m", 0.0, 50.0)
    spec = ObservationSpec((VECTOR, pixels_of(16, 16), depth, ANGLES))
    actor = Actor(spec, 2, trunk_size=8, hidden=())
    inputs = {
        "pixels": images(4, (9, 16, 16)), "depth": 50 * torch.rand(4, 2, 16, 20),
        "state": torch.randn(4, 5), "angles": torch.randn(4, 4),
    }  # fmt: skip
    features = [
        trunk.finish(trunk.embed(inputs[name], None)) for name, trunk in actor.trunks.items()
    ]
    assert list(actor.trunks) == ["pixels", "depth"]
    joined = torch.cat([*features, inputs["state"], inputs["angles"]], dim=1)
    torch.testing.assert_close(actor(inputs)[0], actor.mean(joined))


def test_encoder_scales_images_by_the_range_of_their_entry() -> None:
    torch.manual_seed(0)
    depth = Entry("depth", "image", (1, 16, 16), "float32", 1, "m", 2.0, 10.0)
    encoder = Encoder(depth)
    x = 2 + 8 * torch.rand(3, 1, 16, 16)
    expected = (x - 6.0) / 8.0
    for layer in encoder.convolutions:
        expected = F.relu(layer(expected))
    expected = expected.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(encoder(x), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="'far' lie between 0.0 and inf. Give .* finite"):
        Encoder(Entry("far", "image", (1, 16, 16), low=0.0))


def test_mlp_is_linear_elu_layer_norm() -> None:
    kinds = [type(layer).__name__ for layer in mlp([3, 4, 5])]
    assert kinds == ["Linear", "ELU", "LayerNorm"] * 2


def test_critic_shapes_and_orthogonal_start() -> None:
    critic = Critic(5, (16, 8))
    assert critic(torch.randn(7, 3, 5)).shape == (7, 3)
    assert critic.value.weight.norm().item() == pytest.approx(math.sqrt(2), rel=1e-5)
    assert critic.value.bias.item() == 0.0


def test_normalizer_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 5.0, (2, 7, 4)), rng.normal(-1.0, 0.1, (3, 4)), rng.random((1, 4))]
    normalizer = RunningNormalizer(4)
    for batch in batches:
        normalizer.update(torch.from_numpy(batch).float())
    everything = np.concatenate([batch.reshape(-1, 4) for batch in batches])
    np.testing.assert_allclose(normalizer.mean.numpy(), everything.mean(0), rtol=1e-6)
    np.testing.assert_allclose(normalizer.var.numpy(), everything.var(0), rtol=1e-6)
    x = torch.randn(5, 4)
    expected = (x.numpy() - everything.mean(0)) / np.sqrt(everything.var(0) + 1e-5)
    np.testing.assert_allclose(normalizer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_normalizer_starts_neutral_and_leaves_nonfinite_states_out() -> None:
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.full((3, 2), math.nan))
    assert normalizer.mean.tolist() == [0.0, 0.0] and normalizer.var.tolist() == [1.0, 1.0]
    normalizer.update(torch.tensor([[1.0, 2.0], [math.inf, 0.0], [3.0, 2.0]]))
    assert normalizer.mean.tolist() == [2.0, 2.0] and normalizer.var.tolist() == [1.0, 0.0]


def test_frozen_normalizer_does_not_move_and_passes_gradients() -> None:
    normalizer = RunningNormalizer(2)
    frozen = normalizer.frozen()
    normalizer.update(torch.randn(8, 2) + 5)
    x = torch.randn(3, 2, requires_grad=True)
    y = frozen(x)
    y.sum().backward()
    torch.testing.assert_close(y, x / math.sqrt(1 + 1e-5))
    assert x.grad is not None and x.grad.abs().min() > 0


def test_normalizer_makes_float32_of_whole_numbers() -> None:
    normalizer = RunningNormalizer(2)
    counts = torch.tensor([[0, 100], [2, 300]], dtype=torch.int32)
    normalizer.update(counts)
    found = normalizer(counts)
    assert found.dtype == torch.float32 and torch.equal(found, normalizer(counts.float()))
    torch.testing.assert_close(found, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), rtol=1e-4, atol=0)
    assert normalizer(counts.double()).dtype == torch.float64
