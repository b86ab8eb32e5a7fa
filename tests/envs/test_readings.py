"""What sensors return is compared with their entries when episodes begin."""

import dataclasses
from typing import Any

import pytest
import torch

from dva.sensors import SensorRequest
from dva.sim import State
from dva.spec import Entry


@dataclasses.dataclass
class Angles:
    """Returns `reading` where it is given, and else the angles of the cartpole."""

    name: str = "angles"
    entry: Entry = dataclasses.field(default_factory=lambda: Entry("angles", "vector", (2,)))
    reading: Any = "angles"
    differentiable: bool = True
    recordable: bool = True

    def build(self, request: SensorRequest) -> "Angles":
        return self

    def read(self, state: State) -> Any:
        return state.joint_q if isinstance(self.reading, str) else self.reading


@pytest.mark.parametrize(
    ("reading", "found"),
    [
        (torch.zeros(3), "torch.float32 (3,)"),
        (torch.zeros(3, 3), "torch.float32 (3, 3)"),
        (torch.zeros(1, 2), "torch.float32 (1, 2)"),
        (torch.zeros(3, 2, 1), "torch.float32 (3, 2, 1)"),
        (torch.zeros(3, 2, dtype=torch.float64), "torch.float64 (3, 2)"),
        (torch.zeros(3, 2, device="meta"), "on meta"),
        (None, "NoneType"),
    ],
)
def test_a_reading_that_does_not_fit_its_entry_is_one_line(make, reading, found):
    env = make(observe="angles", sensors=[Angles(reading=reading)])
    with pytest.raises(ValueError, match="Sensor 'angles' returns") as caught:
        env.reset()
    text = str(caught.value)
    assert found in text and "expected torch.float32 (3, 2) on cpu" in text and "\n" not in text


def test_float32_may_stand_for_an_image_that_passes_gradients(make):
    entry = Entry("angles", "image", (1, 1, 2), "uint8", 1, "", 0.0, 255.0)
    image = torch.zeros(3, 1, 1, 2)
    make(observe="angles", sensors=[Angles(entry=entry, reading=image)]).reset()
    hard = Angles(entry=entry, reading=image, differentiable=False)
    with pytest.raises(ValueError, match=r"expected torch\.uint8"):
        make(observe="angles", sensors=[hard]).reset()
