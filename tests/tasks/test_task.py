"""A task's numbers and sensors are checked when it is made."""

from dataclasses import replace

import pytest

from dva import tasks
from dva.sensors import JointAngles


def test_two_sensors_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Task 'cartpole' lists two sensors named 'touch'"):
        replace(tasks.get("cartpole"), sensors=(JointAngles("touch"), JointAngles("touch")))
    assert replace(tasks.get("cartpole"), sensors=(JointAngles("touch"), JointAngles("more")))
