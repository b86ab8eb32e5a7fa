"""Numbers that no simulation survives are refused by name, whatever MuJoCo thinks of them."""

import re
import warnings

import pytest

from dva import robots
from dva.sim import load_model, read_skeleton

ROBOT = """
<mujoco>
  <size nuser_jnt="2" nuser_geom="4"/>
  <option gravity="0 0 -9.81" timestep="0.002"/>
  <default>
    <joint armature="0.01"/>
    <default class="leg"><geom density="900"/></default>
  </default>
  <worldbody>
    <body name="trunk" pos="0 0 1" quat="1 0 0 0">
      <freejoint name="root"/>
      <inertial pos="0 0 0" mass="3" diaginertia="1 1 1"/>
      <geom name="belly" type="box" size="0.2 0.1 0.1" pos="0 0 0" quat="1 0 0 0"
            friction="1 0.1 0.1" user="1000 100 100 0.5"/>
      <body name="thigh" pos="0.1 0 0" euler="0 10 0">
        <joint name="knee" axis="0 1 0" pos="0 0 0" range="-30 40" limited="true" stiffness="2"
               damping="1" armature="0.1" springref="5" ref="0" user="100 1"/>
        <geom name="bone" class="leg" type="capsule" fromto="0 0 0 0 0 -0.3" size="0.05"
              density="800"/>
        <body name="foot" pos="0 0 -0.3" axisangle="0 0 1 20">
          <joint name="toe" type="slide" axis="1 0 0"/>
          <geom name="sole" size="0.06" mass="0.4"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="pull" joint="knee" gear="30" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
  <keyframe><key name="start" qpos="0 0 1 1 0 0 0 0.1 0"/></keyframe>
</mujoco>
"""

NOT_NEGATIVE = (
    ("joint knee", "stiffness"), ("joint knee", "damping"), ("joint knee", "armature"),
    ("joint knee", "user"), ("inertial", "mass"), ("inertial", "diaginertia"),
    ("geom belly", "size"), ("geom belly", "friction"), ("geom belly", "user"),
    ("geom bone", "size"), ("geom bone", "density"), ("geom sole", "mass"),
    ("geom sole", "size"), ("joint", "armature"), ("geom", "density"),
)  # fmt: skip
SIGNED = (
    ("option", "gravity"), ("option", "timestep"), ("body trunk", "pos"), ("body trunk", "quat"),
    ("inertial", "pos"), ("geom belly", "pos"), ("geom belly", "quat"), ("geom bone", "fromto"),
    ("body thigh", "pos"), ("body thigh", "euler"), ("body foot", "axisangle"),
    ("joint knee", "axis"), ("joint knee", "pos"), ("joint knee", "range"),
    ("joint knee", "springref"), ("joint knee", "ref"), ("motor pull", "gear"),
    ("motor pull", "ctrlrange"), ("key start", "qpos"),
)  # fmt: skip
"""Element with name (or of the defaults) and attribute."""

BAD = ("nan", "-NaN", "inf", "-inf", "Infinity", "1e400", "1e300", "-1e30", "1e12", "abc")


def replace(element: str, attribute: str, index: int, value: str) -> str:
    """Puts a word into one place of an attribute of the robot."""
    tag, _, name = element.partition(" ")
    opening = f'<{tag} name="{name}"' if name else f"<{tag}"
    start = next(
        found.start()
        for found in re.finditer(re.escape(opening) + r"(?=[\s>])", ROBOT)
        if f'{attribute}="' in ROBOT[found.start() : ROBOT.index(">", found.start())]
    )
    left = ROBOT.index(f' {attribute}="', start) + len(attribute) + 3
    right = ROBOT.index('"', left)
    words = [str(word) for word in ROBOT[left:right].split()]
    words[index] = value
    return ROBOT[:left] + " ".join(words) + ROBOT[right:]


def length(element: str, attribute: str) -> int:
    """Counts the words of an attribute."""
    count = 0
    while True:
        try:
            replace(element, attribute, count, "0")
        except IndexError:
            return count
        count += 1


CASES = [
    (element, attribute, index, value)
    for places, values in ((SIGNED, BAD), (NOT_NEGATIVE, (*BAD, "-1", "-1e-3")))
    for element, attribute in places
    for index in range(length(element, attribute))
    for value in values
]


def refusal(path) -> str:
    """Gives the one line with which a file is refused; no MuJoCo warning, no other error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:
            load_model(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


def test_there_are_many_cases():
    assert len(CASES) > 500


@pytest.mark.parametrize(("element", "attribute"), [*SIGNED, *NOT_NEGATIVE])
def test_bad_numbers_are_refused_by_name(tmp_path, monkeypatch, element: str, attribute: str):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "robot.xml"
    for case in CASES:
        if case[:2] != (element, attribute):
            continue
        path.write_text(replace(*case))
        text = refusal(path)
        assert attribute in text, (case, text)
        name = element.partition(" ")[2]
        if case[3] != "abc" and name:  # nonsense is MuJoCo's to refuse: it says element and line
            assert repr(name) in text and case[3] in text, (case, text)
    assert [file.name for file in tmp_path.iterdir()] == ["robot.xml"]


def test_the_robot_itself_is_accepted(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(ROBOT)
    assert load_model(path).num_links == 3
    for name in robots.robot_names():
        load_model(robots.mjcf_path(name))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('stiffness="2"', 'stiffness="2 1"', "joint 'knee' has stiffness=.*one of them"),
        ('damping="1"', 'damping="1 0.5"', "joint 'knee' has damping=.*the law is linear"),
        ('range="-30 40"', 'range="40 -30"', r"range\[0\] should be smaller"),
        ('axis="0 1 0"', 'axis="0 0 0"', "axis too small"),
        ('pos="0 0 1" quat="1 0 0 0"', 'pos="0 0 1" quat="0 0 0 0"', "zero quaternion"),
        ('class="leg"><geom density="900"', 'class="leg"><geom density="-9"',
         "geom of default class 'leg' has density"),
    ],
)  # fmt: skip
def test_other_mistakes(tmp_path, old: str, new: str, message: str):
    path = tmp_path / "robot.xml"
    assert old in ROBOT
    path.write_text(ROBOT.replace(old, new, 1))
    assert re.search(message, refusal(path))


def test_included_files_are_checked_too(tmp_path):
    (tmp_path / "parts").mkdir()
    part = tmp_path / "parts" / "part.xml"
    part.write_text("<mujocoinclude><option gravity='0 0 nan'/></mujocoinclude>")
    path = tmp_path / "robot.xml"
    path.write_text(ROBOT.replace("<default>", '<include file="parts/part.xml"/><default>', 1))
    for read in (load_model, read_skeleton):
        with pytest.raises(ValueError, match=r"part.xml: option number 0 has gravity"):
            read(path)


def test_a_skeleton_refuses_only_what_no_simulator_takes(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(replace("joint knee", "damping", 0, "-1"))
    assert read_skeleton(path).num_links == 3
    for value in ("nan", "inf"):
        path.write_text(replace("geom sole", "mass", 0, value))
        with pytest.raises(ValueError, match="geom 'sole' has mass"):
            read_skeleton(path)


def test_shorter_user_data_is_for_others(tmp_path):
    path = tmp_path / "robot.xml"
    text = ROBOT.replace('nuser_geom="4"', 'nuser_geom="1"')
    path.write_text(text.replace('user="1000 100 100 0.5"', 'user="258"'))
    with pytest.warns(UserWarning, match="body-contact"):
        model = load_model(path, ignore=("body-contact",))
    assert len(model.contact_link) == 0 and model.plane_contacts is not None


def test_names_are_no_numbers(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(ROBOT.replace('"knee"', '"nan"').replace('"foot"', '"inf"'))
    assert load_model(path).joint_names[1] == "nan"


def test_what_is_no_xml(tmp_path):
    path = tmp_path / "robot.xml"
    for content in (b"", b"\xff\xfe\x00", b"<mujoco>", b"<a><b></a></b>", b"<robot/>", b"7"):
        path.write_bytes(content)
        refusal(path)
    path.write_text(ROBOT.replace("<worldbody>", "<!-- a -- b --><worldbody>"))
    load_model(path)  # MuJoCo takes such comments


@pytest.mark.parametrize("number", ["100 1", "1000 100 100 0.5"])
def test_short_user_data_is_somebody_elses_if_all_is_short(tmp_path, number: str):
    path = tmp_path / "robot.xml"
    text = ROBOT
    path.write_text(text.replace(f'user="{number}"', 'user="100"'))
    with pytest.warns(UserWarning, match="robot.xml: user data of .*s is taken for somebody else"):
        load_model(path)


def test_short_user_data_beside_ours_is_a_mistake(tmp_path):
    path = tmp_path / "robot.xml"
    extra = '<geom name="more" size="0.1" user="1000 100 100"/><geom name="belly"'
    path.write_text(ROBOT.replace('<geom name="belly"', extra))
    with pytest.raises(ValueError, match="geom 'more' has user=.*4 or more"):
        load_model(path)
