"""Shifts and crops against windows that are cut out one by one."""

import torch
from torch.nn import functional as F

from dva.learning.off_policy.augmentation import (
    augment,
    crop_randomly,
    cut_windows,
    shift_randomly,
)
from dva.spec import Entry, ObservationSpec


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(size: int = 5, height: int = 7, width: int = 9) -> torch.Tensor:
    shape = (size, 6, height, width)
    return torch.randint(0, 256, shape, generator=generator(1), dtype=torch.uint8)


def test_no_shift_is_the_identity() -> None:
    given = images()
    found = shift_randomly(given, 0, generator())
    assert torch.equal(found, given) and found.dtype == torch.uint8
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_constant_image_stays_as_it_is() -> None:
    given = torch.full((8, 3, 6, 6), 77, dtype=torch.uint8)
    assert torch.equal(shift_randomly(given, 4, generator()), given)


def test_a_shift_is_a_window_of_the_padded_image() -> None:
    given, pad = images(), 2
    top, left = torch.tensor([-2, -1, 0, 1, 2]), torch.tensor([2, 0, -1, -2, 1])
    found = cut_windows(given, top, left, 7, 9)
    padded = F.pad(given.float(), (pad, pad, pad, pad), mode="replicate").to(torch.uint8)
    for i in range(5):
        down, right = int(top[i]) + pad, int(left[i]) + pad
        assert torch.equal(found[i], padded[i, :, down : down + 7, right : right + 9])


def test_every_shift_occurs_and_none_is_larger() -> None:
    ramp = torch.arange(20.0)[:, None] * 100 + torch.arange(20.0)
    found = shift_randomly(ramp.expand(2000, 1, 20, 20), 2, generator())
    moved = (found[:, 0, 10, 10] - ramp[10, 10]).tolist()
    down = {round(x / 100) for x in moved}
    right = {round(x - 100 * round(x / 100)) for x in moved}
    assert down == right == {-2, -1, 0, 1, 2} and len(set(moved)) == 25


def test_a_crop_lies_inside() -> None:
    given = images(400, 8, 8)
    found = crop_randomly(given, 6, generator())
    assert found.shape == (400, 6, 6, 6)
    places = set()
    for one, whole in zip(found, given, strict=True):
        fits = [
            (y, x) for y in range(3) for x in range(3)
            if torch.equal(one, whole[:, y : y + 6, x : x + 6])
        ]  # fmt: skip
        assert len(fits) == 1
        places.add(fits[0])
    assert len(places) == 9
    assert torch.equal(crop_randomly(given, 8, generator()), given)


def test_vectors_are_left() -> None:
    spec = ObservationSpec(
        (Entry("pixels", "image", (6, 7, 9), "uint8"), Entry("state", "vector", (2,)))
    )
    seen = {"pixels": images(), "state": torch.rand(5, 2)}
    found = augment(seen, spec, lambda x: x[..., :3])
    assert found["state"] is seen["state"] and found["pixels"].shape == (5, 6, 7, 3)
