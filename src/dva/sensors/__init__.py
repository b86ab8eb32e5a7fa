"""Batched cameras over the simulated robots.

Enters: a robot's `Skeleton`, where its camera stands (`View`), what surrounds it (`Scene`), and
joint positions (N, num_coords). Leaves: one RGB, depth or segmentation picture per environment, as
torch tensors without gradient; `DifferentiableCamera` gives RGB with one. What stands around the
robot is changed in `scene.py`. Two renderers draw the same pictures: a ray caster of our own for
plain shapes (`caster/`) and MuJoCo Warp's for everything else (`mujoco/`); nothing outside this
room knows which one it is.
"""

from dva.sensors.camera import OUTPUTS, RENDERERS, Camera, RendererName
from dva.sensors.scene import Scene, View, compose_scene
from dva.sensors.soft.camera import DifferentiableCamera

__all__ = [
    "OUTPUTS",
    "RENDERERS",
    "Camera",
    "DifferentiableCamera",
    "RendererName",
    "Scene",
    "View",
    "compose_scene",
]
