"""Layers, and the shapes that encoder and decoder pass on."""

import pytest
import torch
from torch.nn import functional as F

from dva.learning.world_model.distributions import symlog
from dva.learning.world_model.networks import (
    BlockLinear,
    Decoder,
    Encoder,
    ImageDecoder,
    ImageEncoder,
    NormedSilu,
    dense,
    join_blocks,
    split_blocks,
)
from dva.spec import Entry, ObservationSpec

FLOAT = torch.float32


def pixels(height: int, width: int | None = None) -> Entry:
    return Entry("pixels", "image", (3, height, width or height), "uint8", 1, "", 0.0, 255.0)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_norm_divides_by_the_root_mean_square() -> None:
    layer = NormedSilu(4)
    layer.scale.data = torch.tensor([1.0, 2.0, 0.0, -1.0])
    x = torch.tensor([[3.0, -3.0, 1.0, 1.0]])  # root mean square sqrt(5)
    expected = F.silu(x / (5.0 + 1e-4) ** 0.5 * layer.scale)
    torch.testing.assert_close(layer(x), expected)


def test_weights_keep_the_variance_and_are_cut_off() -> None:
    torch.manual_seed(0)
    layer = dense(400, 500).requires_grad_(False)
    assert layer.bias.abs().max() == 0.0
    assert float(layer.weight.std()) == pytest.approx(400**-0.5, rel=0.01)
    assert float(layer.weight.abs().max()) < 2.3 * 400**-0.5
    assert dense(4, 5, 0.0).weight.abs().max() == 0.0


def test_block_linear_is_a_linear_layer_with_a_block_diagonal_weight() -> None:
    layer = BlockLinear(12, 6, 3)
    assert layer.bias is not None
    layer.bias.data = drawn(3, 1, 2, seed=1)
    x = drawn(5, 12)
    found = join_blocks(layer(split_blocks(x, 3)))
    expected = x @ torch.block_diag(*layer.weight) + layer.bias.flatten()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("size", "smallest"),
    [((64, 64), (4, 4)), ((48, 48), (3, 3)), ((84, 84), (3, 3)), ((16, 16), (4, 4)),
     ((21, 34), (3, 5)), ((5, 90), (3, 45))],
)  # fmt: skip
def test_images_of_any_size_are_halved_and_come_back(
    size: tuple[int, int], smallest: tuple[int, int]
) -> None:
    entry = pixels(*size)
    encoder, decoder = ImageEncoder(entry, 2, FLOAT), ImageDecoder(entry, 7, 2, FLOAT)
    assert encoder.sizes[-1] == smallest
    halvings = len(encoder.sizes) - 1
    assert encoder.output_size == 2 * 2 ** (halvings - 1) * smallest[0] * smallest[1]
    images = (255 * torch.rand(3, *entry.shape)).to(torch.uint8)
    assert encoder(encoder.centered(images)).shape == (3, encoder.output_size)
    assert decoder(drawn(3, 7)).shape == (3, *entry.shape)


def test_an_odd_side_reaches_its_last_pixel() -> None:
    encoder = ImageEncoder(pixels(9), 2, FLOAT)
    images = torch.zeros(1, 3, 9, 9)
    other = images.clone()
    other[..., -1, -1] = 1.0
    assert not torch.allclose(encoder(images), encoder(other))


def test_bfloat16_is_near_float32() -> None:
    torch.manual_seed(0)
    encoder, decoder = ImageEncoder(pixels(16), 4, FLOAT), ImageDecoder(pixels(16), 5, 4, FLOAT)
    images, features = drawn(4, 3, 16, 16), drawn(4, 5)
    exact = encoder(images), decoder(features)
    encoder.compute_dtype = decoder.compute_dtype = torch.bfloat16
    found = encoder(images), decoder(features)
    assert all(x.dtype == FLOAT for x in found)
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (pixels(4), "Images of 4x4 are too small for the encoder. Use an image_size of 5 or more"),
        (Entry("depth", "image", (1, 16, 16)), "'depth' lie between -inf and inf. Give"),
    ],
)
def test_images_that_do_not_fit_are_refused(entry: Entry, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageEncoder(entry, 2, FLOAT)


def test_an_observation_of_images_and_vectors() -> None:
    spec = ObservationSpec(
        (pixels(16), Entry("angles", "vector", (2,)), Entry("s", "vector", (3,)))
    )
    torch.manual_seed(0)
    encoder = Encoder(spec, 2, 8, 3, FLOAT)
    observation = {
        "pixels": (255 * torch.rand(4, 3, 16, 16)).to(torch.uint8),
        "angles": drawn(4, 2),
        "s": 100.0 * drawn(4, 3, seed=1),
    }
    prepared = encoder.prepare(observation)
    torch.testing.assert_close(prepared["pixels"], observation["pixels"] / 255.0 - 0.5)
    assert encoder(prepared).shape == (4, encoder.output_size)
    assert encoder.output_size == 2 * 2 * 4 * 4 + 8
    decoder = Decoder(spec, 6, 2, 8, 3, FLOAT)
    features = drawn(4, 6)
    image = decoder.images["pixels"](features) + 0.5 - observation["pixels"] / 255.0
    assert decoder.vectors is not None
    joined = torch.cat([observation["angles"], observation["s"]], 1)
    vector = decoder.vectors(features) - symlog(joined)
    expected = image.square().sum((1, 2, 3)) + vector.square().sum(1)
    torch.testing.assert_close(decoder.loss(features, prepared), expected)


def test_a_centre_is_subtracted_from_images() -> None:
    encoder = Encoder(ObservationSpec((pixels(16),)), 2, 8, 3, FLOAT)
    images = (255 * torch.rand(4, 3, 16, 16)).to(torch.uint8)
    mean = images.float().mean(0)
    encoder.center({"pixels": mean})
    found = encoder.prepare({"pixels": images})["pixels"]
    torch.testing.assert_close(found, (images.float() - mean) / 255.0)
    assert "images.pixels.center" in encoder.state_dict()  # it is saved
