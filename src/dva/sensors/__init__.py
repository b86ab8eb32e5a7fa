"""Batched cameras over the simulated robots.

Enters: a robot model, where its camera stands (`View`), what surrounds the robot (`Scene`), and
joint positions (N, num_coords). Leaves: one RGB, depth or segmentation picture per environment, as
torch tensors without gradient. What stands around the robot is changed in `scene.py`; the renderer
can be replaced in `camera.py` and `kernels.py`, nothing else knows which one it is.
"""

from dva.sensors.camera import OUTPUTS, Camera
from dva.sensors.scene import Scene, View, compose_scene

__all__ = ["OUTPUTS", "Camera", "Scene", "View", "compose_scene"]
