"""Sensors: what a robot perceives.

Enters: a robot, where its camera stands (`View`), what surrounds it (`Scene`), and physics states.
Leaves: named tensors, one reading per robot. `Sensor` is the contract; a task lists
`SensorMaker`s. Cameras come in folders by kind: a ray caster of our own for plain shapes
(`caster`), MuJoCo Warp's renderer for everything else (`mujoco`), and a differentiable camera
(`soft`). Add a sensor by adding a file; nothing outside this room knows how an image is rendered.
"""

from dva.sensors.camera import OUTPUTS, RENDERERS, Camera, RendererName
from dva.sensors.scene import Scene, View, check_mount, compose_scene
from dva.sensors.sensor import CAMERA_KINDS, CameraKind, Sensor, SensorMaker, SensorRequest
from dva.sensors.soft.camera import DifferentiableCamera
from dva.sensors.standard import STANDARD_SENSORS, CameraSensor, JointAngles

__all__ = [
    "CAMERA_KINDS",
    "OUTPUTS",
    "RENDERERS",
    "STANDARD_SENSORS",
    "Camera",
    "CameraKind",
    "CameraSensor",
    "DifferentiableCamera",
    "JointAngles",
    "RendererName",
    "Scene",
    "Sensor",
    "SensorMaker",
    "SensorRequest",
    "View",
    "check_mount",
    "compose_scene",
]
