"""The controls of a viewer's page: time, drivers, checkpoints, pushes, sliders, keys."""

from collections.abc import Callable
from typing import Any

import numpy as np
import viser

from dva.sim import BALL, FREE, PRISMATIC
from dva.viewer.live.scene import Stage
from dva.viewer.live.session import POSE, SLIDERS, SPEEDS, Session

__all__ = ["Controls", "small"]

Do = Callable[[Callable[[], object]], None]
"""Takes what is to be called in the viewer's thread."""


class Controls:
    """Adds controls to a page, where its GUI adds things just then.

    Args:
        gui: of the server.
        session: what is controlled, by way of `do` alone.
        stage: whose camera may follow.
        do: calls something in the viewer's thread.
    """

    def __init__(self, gui: viser.GuiApi, session: Session, stage: Stage, do: Do) -> None:
        self._gui, self._session, self._stage, self._do = gui, session, stage, do
        self._add_time()
        self._add_drivers()
        self._add_checkpoints()
        self._add_views()
        self._add_push()
        self._add_sliders()
        self._add_keys()

    def show(self) -> None:
        """Writes what the session itself has changed into the controls, in the viewer's thread."""
        session = self._session
        _put(self._driver, session.driver)
        if session.loaded is not None:
            options = tuple(_checkpoints(session))
            if tuple(self._checkpoint.options) != options:
                self._checkpoint.options = options
            _put(self._checkpoint, session.loaded.checkpoint)
        self._actions.visible = session.driver == SLIDERS
        self._pose.visible = session.driver == POSE
        if session.driver == POSE:
            joint_q = session.env.state.joint_q[session.robot].tolist()
            for coordinate, slider in self._joints.items():
                _put(slider, float(np.clip(joint_q[coordinate], slider.min, slider.max)))

    def push(self, direction: np.ndarray, body: str, robot: int | None) -> None:
        """Pushes a robot as strongly as the slider says.

        Args:
            direction: (3,) of length 1, world axes.
            body: its name.
            robot: which; None: the one that is shown.
        """
        if self._strength is not None:
            impulse = (float(self._strength.value) * direction).tolist()
            self._do(lambda: self._session.push(impulse, body, robot))

    # ------------------------------------------------------------------ time and drivers

    def _add_time(self) -> None:
        session, gui = self._session, self._gui
        buttons = gui.add_button_group("Time", ("Play", "Pause", "Step", "Reset"))
        buttons.on_click(lambda event: self._control(event.target.value))
        speed = gui.add_slider(
            "Speed", SPEEDS[0], SPEEDS[1], 0.05, 1.0, hint="Simulated seconds a second."
        )
        self._listen(speed, session.choose_speed)

    def _control(self, word: str) -> None:
        session = self._session

        def play(playing: bool) -> None:
            session.playing = playing

        def step() -> None:
            session.playing = False
            session.step()

        asked = {
            "Play": lambda: play(True), "Pause": lambda: play(False), "Step": step,
            "Reset": session.reset, "Toggle": lambda: play(not session.playing),
        }  # fmt: skip
        if word in asked:
            self._do(asked[word])

    def _add_drivers(self) -> None:
        session = self._session
        self._driver = self._gui.add_dropdown(
            "Driven by", session.drivers, initial_value=session.driver
        )
        self._listen(self._driver, session.drive)

    def _add_checkpoints(self) -> None:
        session, gui = self._session, self._gui
        if session.loaded is None:
            return
        self._checkpoint = gui.add_dropdown(
            "Checkpoint", _checkpoints(session), initial_value=session.loaded.checkpoint
        )
        self._listen(self._checkpoint, session.choose_checkpoint)
        again = gui.add_button("Load it again", hint="Training may have saved a newer one.")
        again.on_click(
            lambda _: self._do(lambda: session.choose_checkpoint(self._checkpoint.value))
        )
        follow = gui.add_checkbox(
            "Follow training", False, hint="Load each newer checkpoint as soon as it is saved."
        )
        self._listen(follow, lambda value: setattr(session, "follows_training", value))

    def _add_views(self) -> None:
        session, gui = self._session, self._gui
        if session.env.num_envs > 1:
            names = [str(i) for i in range(session.env.num_envs)]
            robot = gui.add_dropdown("Robot", names, hint="Whose images and plots these are.")
            self._listen(robot, lambda value: session.choose_robot(int(value)))
        follow = gui.add_checkbox("Camera follows", self._stage.follows)
        self._listen(follow, lambda value: setattr(self._stage, "follows", value))

    def _listen(self, handle: Any, set_value: Callable[[Any], object]) -> None:
        """Lets the viewer's thread know what somebody chooses."""

        @handle.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:  # not what `show` writes there
                value = event.target.value
                self._do(lambda: set_value(value))

    def _add_keys(self) -> None:
        for key, label, do in (
            ("space", "Play or pause", lambda: self._control("Toggle")),
            ("S", "One step", lambda: self._control("Step")),
            ("R", "Reset", lambda: self._control("Reset")),
            ("P", "Push", self._push_now),
        ):
            command = self._gui.add_command(label, hotkey=key)  # type: ignore[arg-type]
            command.on_trigger(lambda _, do=do: do())

    # ------------------------------------------------------------------ pushes and sliders

    def _add_push(self) -> None:
        session, gui = self._session, self._gui
        self._strength: Any = None
        if not session.bodies:
            return
        mass = float(sum(session.env.simulator.model.link_mass))
        largest = _round(3.0 * mass)
        with gui.add_folder("Push", expand_by_default=False):
            gui.add_html(
                small(
                    "An impulse at the centre of mass of a body: velocities jump between two "
                    "steps. Or click on the robot, which pushes that part away from you."
                )
            )
            self._strength = gui.add_slider(
                "Impulse (N s)", 0.0, largest, largest / 100, _round(mass / 2),
                hint=f"The robot weighs {mass:.1f} kg.",
            )  # fmt: skip
            self._direction = gui.add_slider(
                "Direction (°)", -180, 180, 5, 0, hint="0 is forward, 90 to the left."
            )
            self._upward = gui.add_slider("Upward (°)", -90, 90, 5, 0)
            self._body = gui.add_dropdown("Body", list(session.bodies))
            gui.add_button("Push").on_click(lambda _: self._push_now())

    def _push_now(self) -> None:
        if self._strength is None:
            return
        around, up = np.radians(self._direction.value), np.radians(self._upward.value)
        level = np.array([np.cos(around), np.sin(around), 0.0])
        direction = np.cos(up) * level + np.array([0.0, 0.0, np.sin(up)])
        self.push(direction, self._body.value, None)

    def _add_sliders(self) -> None:
        session, gui = self._session, self._gui
        self._actions = gui.add_folder("Actions of all robots", visible=False)
        with self._actions:
            for index, name in enumerate(session.env.action_spec.names):
                slider = gui.add_slider(name or f"action {index}", -1.0, 1.0, 0.01, 0.0)
                self._listen(slider, lambda value, index=index: session.set_action(index, value))
        self._pose = gui.add_folder("Joints of all robots", visible=False)
        self._joints: dict[int, Any] = {}
        with self._pose:
            for coordinate, name, low, high in _joints(session, self._stage.joint_ranges()):
                slider = gui.add_slider(name, low, high, (high - low) / 200, max(low, min(0, high)))
                self._joints[coordinate] = slider
                self._listen(
                    slider,
                    lambda value, coordinate=coordinate: session.set_joint(coordinate, value),
                )


def small(text: str) -> str:
    """Sets a paragraph of HTML as the controls' own labels are."""
    return f'<div style="font-size:0.8em;line-height:1.5;padding:0 0.75em">{text}</div>'


def _checkpoints(session: Session) -> list[str]:
    """Lists what there is to choose, what is loaded included."""
    assert session.loaded is not None
    return list(dict.fromkeys([*session.source.checkpoints(), session.loaded.checkpoint]))


def _joints(
    session: Session, ranges: dict[int, tuple[float, float]]
) -> list[tuple[int, str, float, float]]:
    """Lists what joint sliders move: coordinate, name with its unit, lowest and highest."""
    model = session.env.simulator.model
    found = []
    for link, name in enumerate(model.joint_names):
        coordinate = int(model.link_coordinate[link])
        name = name or f"joint {link}"
        if model.link_joint[link] == FREE:
            height = round(float(model.initial_q[coordinate + 2]), 2)
            found.append((coordinate + 2, f"{name} height (m)", height - 1.0, height + 1.0))
            continue
        if model.link_joint[link] == BALL:
            continue  # its four numbers are one quaternion
        slides = model.link_joint[link] == PRISMATIC
        low, high = ranges.get(coordinate, (-1.0, 1.0) if slides else (-np.pi, np.pi))
        unit = "m" if slides else "rad"
        found.append((coordinate, f"{name} ({unit})", round(low, 2), round(high, 2)))
    return found


def _put(handle: Any, value: Any) -> None:
    """Writes a value into a control, where it differs."""
    if handle.value != value:
        handle.value = value


def _round(value: float) -> float:
    """Rounds a positive number to one digit."""
    digit = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(max(round(value / digit), 1) * digit)
