"""A sensor in one file, and a second camera: an ant that also feels north and looks ahead.

    dva train heading_compass:ant-scout --observe pixels compass ahead
"""

import dataclasses
from dataclasses import dataclass

import torch

from dva import tasks
from dva.sensors import CameraSensor, SensorRequest, View
from dva.sim import FREE, State
from dva.spec import Entry


@dataclass(frozen=True)
class HeadingCompass:
    """Cosine and sine of the angle between a free base's x axis and the world's, seen from above."""

    name: str = "compass"
    frame_stack: int = 1

    def build(self, request: SensorRequest) -> "HeadingReading":
        """Builds the sensor, for robots whose first joint is free."""
        if request.model.link_joint[0] != FREE:
            raise ValueError("The compass turns with a free base, and this robot has none.")
        entry = Entry(
            self.name, "vector", (2,), "float32", self.frame_stack, "cosine and sine", -1.0, 1.0
        )
        return HeadingReading(entry)


class HeadingReading:
    """Reads the compass."""

    differentiable = True
    recordable = True

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def read(self, state: State) -> torch.Tensor:
        """Returns (N, 2)."""
        x, y, z, w = state.joint_q[:, 3:7].unbind(1)
        north = torch.stack([w * w + x * x - y * y - z * z, 2.0 * (x * y + w * z)], dim=1)
        return torch.nn.functional.normalize(north, dim=1)


AHEAD = View(eye=(0.3, 0.0, 0.3), target=(3.0, 0.0, 0.0), fovy=70.0, mount="torso")

tasks.register(
    dataclasses.replace(
        tasks.get("ant"),
        name="ant-scout",
        description="run forward on four legs, with a compass and a camera that looks ahead",
        sensors=(HeadingCompass(), CameraSensor("ahead", view=AHEAD, image_size=32)),
    )
)
