"""What MuJoCo warns about becomes Python warnings, and no file is left behind."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import threading
import warnings

import mujoco
import pytest

from dva.sensors import Scene, View, compose_scene
from dva.sim.mjcf.compiling import compile_mjcf, mujoco_warnings, read_spec

TEXT = "<mujoco><worldbody><body><joint/><geom size='.1' {}/></body></worldbody></mujoco>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, attribute: str = ""):
    path = folder / "robot.xml"
    path.write_text(TEXT.format(attribute))
    return path


def test_warnings_of_the_parser(folder):
    path = write(folder, 'solmix="nan"')
    for read in (read_spec, lambda path: compose_scene(path, View((0, -1, 0), (0, 0, 0)), Scene())):
        with pytest.warns(UserWarning, match=r"robot.xml: MuJoCo warns: XML contains a 'NaN'"):
            read(path)
    assert [file.name for file in folder.iterdir()] == ["robot.xml"]


def test_warnings_of_a_simulation(folder):
    model = compile_mjcf(write(folder))
    data = mujoco.MjData(model)
    data.qvel[:] = float("inf")
    with pytest.warns(UserWarning, match="simulation is unstable"), mujoco_warnings("robot"):
        mujoco.mj_step(model, data)
    assert [file.name for file in folder.iterdir()] == ["robot.xml"]


def test_warnings_may_be_errors(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="NaN"):
            read_spec(write(folder, 'solmix="nan"'))
    assert mujoco.get_mju_user_warning() is None


def test_blocks_nest_and_run_side_by_side(folder):
    before = mujoco.get_mju_user_warning()
    gate = threading.Barrier(2, timeout=20)

    def scope() -> None:
        with mujoco_warnings("one"):
            gate.wait()
            with mujoco_warnings("two"):
                gate.wait()

    threads = [threading.Thread(target=scope) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mujoco.get_mju_user_warning() is before


def test_errors_are_one_line(folder):
    path = write(folder, 'density="abc"')
    with pytest.raises(ValueError, match="MuJoCo cannot compile .*robot.xml.*'density'") as caught:
        read_spec(path)
    assert "\n" not in str(caught.value)
