"""A task's numbers and sensors are checked when it is made."""

from dataclasses import replace

import pytest

from dva import tasks
from dva.sensors import JointAngles


def test_two_sensors_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Task 'cartpole' lists two sensors named 'touch'"):
        replace(tasks.get("cartpole"), sensors=(JointAngles("touch"), JointAngles("touch")))
    assert replace(tasks.get("cartpole"), sensors=(JointAngles("touch"), JointAngles("more")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episode_length": 0}, "episode_length of task 'cartpole' is 0; .* from 1 to 1,000,000"),
        ({"episode_length": 2.5}, "is 2.5; it must be a whole number"),
        ({"episode_length": True}, "is True; it must be a whole number"),
        ({"control_dt": 0.0}, "control_dt of task 'cartpole' is 0.0; .* above 0 in seconds"),
        ({"control_dt": -1}, "control_dt"),
        ({"control_dt": float("nan")}, "control_dt of task 'cartpole' is nan"),
        ({"control_dt": "1/60"}, "control_dt"),
        ({"substeps": 0}, "substeps of task 'cartpole' is 0"),
        ({"substeps": "4"}, "substeps of task 'cartpole' is '4'"),
        ({"mass_matrix_interval": 0}, "mass_matrix_interval of task 'cartpole' is 0; .*from 1 to "),
        ({"mass_matrix_interval": 5}, "is 5; .* from 1 to its substeps, 4"),
    ],
)
def test_a_number_out_of_range_is_named_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(tasks.get("cartpole"), **changes)
    assert "\n" not in str(caught.value)
