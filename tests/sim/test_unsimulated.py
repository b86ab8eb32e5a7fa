"""What is not simulated is refused by name, or ignored by name and with a warning."""

import pytest

from dva import robots
from dva.sim import load_model

BODY = '<body pos="0 0 1">{joint}<geom name="g" size="0.1" {geom}/>{more}</body>'


def write(folder, world: str = "", rest: str = "", geom: str = "", more: str = "",
          joint: str = "<freejoint/>"):  # fmt: skip
    path = folder / "robot.xml"
    body = BODY.format(joint=joint, geom=geom, more=more)
    path.write_text(
        f'<mujoco><compiler autolimits="true"/><worldbody>{world}{body}</worldbody>{rest}</mujoco>'
    )
    return path


HINGE = '<joint name="j"/>'
FAR = '<body pos="1 0 0"><joint/><geom size="0.1"/><body pos="1 0 0"><joint/><geom size=".1"/></body></body>'  # noqa: E501
UNSIMULATED = {
    "fluid-shape": {"rest": '<option density="1000"/>', "geom": 'fluidshape="ellipsoid"'},
    "free-joint": {"joint": '<joint type="free" armature="1"/>'},
    "ctrlrange": {"joint": HINGE, "rest": '<actuator><motor joint="j"/></actuator>'},
    "activation": {
        "joint": HINGE,
        "rest": '<actuator><general joint="j" ctrlrange="-1 1" dyntype="filter" dynprm="0.1"/>'
        "</actuator>",
    },
    "constraints": {
        "rest": '<equality><connect body1="b" anchor="0 0 0"/></equality>',
        "more": '<body name="b" pos="1 0 0"><joint/><geom size="0.1" contype="0" conaffinity="0"/></body>',  # noqa: E501
    },
}
OPTIONAL = {
    "terrain": {
        "world": '<geom type="hfield" hfield="hills"/>',
        "rest": '<asset><hfield name="hills" nrow="2" ncol="2" size="1 1 1 1"/></asset>',
    },
    "fluid": {"rest": '<option density="1000" viscosity="0.1"/>'},
    "world-geoms": {"world": '<geom type="box" size="1 1 1"/>'},
    "contact-pairs": {
        "world": '<geom name="p" type="plane" size="1 1 1"/>',
        "rest": '<contact><pair geom1="g" geom2="p"/></contact>',
    },
    "body-contact": {"more": FAR},
}


@pytest.mark.parametrize("name", UNSIMULATED)
def test_it_is_refused_by_name_or_ignored_with_a_warning(tmp_path, name: str):
    path = write(tmp_path, **UNSIMULATED[name])
    with pytest.raises(ValueError, match=rf"\({name}: .*ignore=\('{name}',\).*--ignore {name}\."):
        load_model(path)
    with pytest.warns(UserWarning, match=f"robot.xml: not simulated, as asked: {name}: "):
        load_model(path, ignore=(name,))


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_is_simulated_may_be_left_out(tmp_path, name: str, recwarn):
    path = write(tmp_path, **OPTIONAL[name])
    load_model(path)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=f"robot.xml: not simulated, as asked: {name}: "):
        model = load_model(path, ignore=(name,))
    assert model.fluid is None and model.body_contacts is None


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ignore names 'friction'; allowed: body-contact, "):
        load_model(write(tmp_path), ignore=("friction",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint": HINGE, "rest": '<actuator><general joint="j" dyntype="integrator" '
          'ctrlrange="-1 1"/></actuator>'}, "has a state of its own"),
        ({"joint": HINGE, "rest": '<actuator><muscle joint="j" ctrlrange="0 1" '
          'lengthrange="0.1 1"/></actuator>'}, "gain of type muscle"),
        ({"geom": "", "more": '<site name="s"/>', "rest": '<actuator><motor site="s" '
          'ctrlrange="-1 1"/></actuator>'}, "acts on a site"),
        ({"joint": HINGE, "rest": '<option><flag clampctrl="disable"/></option>'},
         "disabled actuation or clampctrl"),
    ],
)  # fmt: skip
def test_what_no_name_ignores(tmp_path, change, message: str):
    with pytest.raises(ValueError, match=message):
        load_model(write(tmp_path, **change))


def test_flags_take_away_what_they_disable(tmp_path):
    flags = '<option><flag gravity="disable" contact="disable"/></option>'
    model = load_model(write(tmp_path, rest=flags, more=FAR))
    assert not model.gravity.any() and model.num_contacts == 0


def test_the_robots_of_the_package_need_nothing_new(recwarn):
    for name in robots.robot_names():
        model = load_model(robots.mjcf_path(name))
        assert model.plane_contacts is model.transmissions is model.joint_forces is None
        assert model.couplings is model.gravity_compensation is model.free_damping is None
        assert model.body_contacts is model.fluid is None
    assert not recwarn.list
