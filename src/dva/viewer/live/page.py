"""The page of a viewer: what it shows of a session, and the controls."""

import base64
import contextlib
import io
import time
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
import viser
from PIL import Image
from viser import uplot

from dva.sim import FREE, PRISMATIC
from dva.viewer.live.pictures import beside, heat, picture, seen
from dva.viewer.live.scene import Stage
from dva.viewer.live.session import POSE, SLIDERS, SPEEDS, Session

__all__ = ["Page"]

_IMAGE_PERIOD, _PLOT_PERIOD = 1 / 15, 1 / 4
"""Seconds between pictures of images, and between plots, at least."""
_IMAGE_SHARE = 0.2
"""Share of the time that images may take; the rest is for physics, policy and robot."""
_COLORS = (
    "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777",
    "#4f46e5", "#65a30d", "#0d9488", "#7c3aed",
)  # fmt: skip
_STYLE = """<style>
@media (max-width: 48em) {
  .mantine-Paper-root[style*="position: fixed"][style*="bottom: 0"] {
    width: 100% !important; max-height: 50% !important;
  }
  .mantine-Paper-root[style*="bottom: 0"] .mantine-ScrollArea-content {
    display: block !important; min-width: 0 !important; max-width: 100%;
  }
  .mantine-Paper-root[style*="bottom: 0"] .mantine-ScrollArea-content > div {
    width: 100% !important;
  }
}
</style>"""
"""viser's panel leaves a third of a phone's width empty."""


class _Server(viser.ViserServer):
    """viser's server, without its tunnel through a machine of others."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Opens no tunnel: who may look is decided by the address that the viewer listens at."""
        return None


class Page:
    """Shows a session to every browser that is connected; all share the controls.

    Args:
        session: what is shown. Only `show` touches it, in the thread of its caller.
        do: takes what controls ask for, to be called in that thread.
        host, port: where to listen.
    """

    def __init__(
        self, session: Session, do: Callable[[Callable[[], object]], None], host: str, port: int
    ) -> None:
        self._session, self._do = session, do
        with contextlib.redirect_stdout(io.StringIO()):  # it says its address in its own way
            self._server = _Server(host, port, label=f"dva · {session.source.name}", verbose=False)
        self._gui = self._server.gui
        self._gui.configure_theme(
            show_logo=False, show_share_button=False, control_width="large",
            brand_color=(37, 99, 235),
        )  # fmt: skip
        self._stage = Stage(self._server, session, self._push_along)
        self._next_image = self._plotted = -1.0
        self._stale = {"image": True, "plot": True}
        self._pace: tuple[float, int] = (0.0, 0)
        self._real_time = 0.0
        self._add_sight()
        self._add_controls()
        self._add_push()
        self._add_sliders()
        self._gui.main_panel.dock_right()
        plots = self._gui.add_panel()
        with plots.add_tab("Plots"):
            self._add_plots()
        plots.dock_left()
        self._add_keys()

    # ------------------------------------------------------------------ for the viewer

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._server.get_port()

    @property
    def watched(self) -> bool:
        """Whether anybody has the page open."""
        return bool(self._server.get_clients())

    def complain(self, text: str) -> None:
        """Shows an error to everybody who has the page open."""
        for client in self._server.get_clients().values():
            client.add_notification("That was not possible", text, auto_close_seconds=12.0)

    def show(self, now: float, changed: bool) -> None:
        """Shows what is new; images and plots less often than the robot.

        Args:
            now: a clock's time [s].
            changed: whether the session may have changed since the last call.
        """
        if changed:
            self._stale = {"image": True, "plot": True}
            with self._server.atomic():
                self._stage.show()
        if self._stale["image"] and now >= self._next_image:
            self._stale["image"] = False
            began = time.perf_counter()
            self._show_images()
            took = time.perf_counter() - began
            self._next_image = now + max(_IMAGE_PERIOD, took / _IMAGE_SHARE)
        if self._stale["plot"] and now - self._plotted >= _PLOT_PERIOD:
            self._measure(now)
            self._plotted, self._stale["plot"] = now, False
            self._show_plots()
            self._show_controls()

    def stop(self) -> None:
        """Lets go of the port."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    # ------------------------------------------------------------------ images

    def _add_sight(self) -> None:
        self._gui.add_html(_STYLE)
        self._caption = self._gui.add_html("")
        self._image = self._gui.add_html("")
        self._salient = self._gui.add_checkbox(
            "Saliency", True, hint="Bright pixels change the policy's next action most.",
            visible=bool(self._session.images) and self._session.policy is not None,
        )  # fmt: skip

        @self._salient.on_update
        def _(event: viser.GuiEvent) -> None:
            self._do(lambda: None)  # whatever is done makes the page show everything anew

    def _show_images(self) -> None:
        session = self._session
        maps = session.saliency() if self._salient.value else {}
        rows = []
        for entry in session.images:
            base = picture(entry, seen(session.policy, entry, session.observed(entry.name)))
            rows.append(base)
            if entry.name in maps:
                rows.append(heat(base, maps[entry.name]))
        if not rows:
            image = session.env.render(128, env_ids=[session.robot])[0]
            rows = [image.permute(1, 2, 0).cpu().numpy()]
        # Inside the page's own text: a link to it might be gone before a slow browser follows it.
        self._image.content = _embed(beside(rows))

    def _describe_images(self) -> str:
        session = self._session
        who = "The policy sees" if session.policy is not None else "A policy would see"
        if not session.images:
            return f"{who} no image, but numbers. The task's camera, for you:"
        parts = [
            f"{escape(entry.name)}, {entry.shape[1]}×{entry.shape[2]} pixels"
            + (f", the newest of {entry.frame_stack}" if entry.frame_stack > 1 else "")
            for entry in session.images
        ]
        return f"{who} {'; '.join(parts)}"

    # ------------------------------------------------------------------ time and drivers

    def _add_controls(self) -> None:
        session, gui = self._session, self._gui
        self._status = gui.add_html("")
        self._time = gui.add_button_group("Time", ("Play", "Pause", "Step", "Reset"))
        self._time.on_click(lambda event: self._control(event.target.value))
        self._speed = gui.add_slider(
            "Speed", SPEEDS[0], SPEEDS[1], 0.05, 1.0, hint="Simulated seconds a second."
        )
        self._listen(self._speed, session.choose_speed)
        self._driver = gui.add_dropdown("Driven by", session.drivers, initial_value=session.driver)
        self._listen(self._driver, session.drive)
        self._add_checkpoints()
        if session.env.num_envs > 1:
            names = [str(i) for i in range(session.env.num_envs)]
            self._robot = gui.add_dropdown("Robot", names, hint="Whose images and plots these are.")
            self._listen(self._robot, lambda value: session.choose_robot(int(value)))
        self._follow = gui.add_checkbox("Camera follows", self._stage.follows)
        self._listen(self._follow, lambda value: setattr(self._stage, "follows", value))

    def _add_checkpoints(self) -> None:
        session, gui = self._session, self._gui
        if session.loaded is None:
            return
        self._checkpoint = gui.add_dropdown(
            "Checkpoint",
            list(dict.fromkeys([*session.source.checkpoints(), session.loaded.checkpoint])),
            initial_value=session.loaded.checkpoint,
        )
        self._listen(self._checkpoint, session.choose_checkpoint)
        reload = gui.add_button("Load it again", hint="Training may have saved a newer one.")
        reload.on_click(
            lambda _: self._do(lambda: session.choose_checkpoint(self._checkpoint.value))
        )
        follow = gui.add_checkbox(
            "Follow training", False, hint="Load each newer checkpoint as soon as it is saved."
        )
        self._listen(follow, lambda value: setattr(session, "follows_training", value))

    def _listen(self, handle: Any, set_value: Callable[[Any], object]) -> None:
        """Lets the session know what somebody chooses."""

        @handle.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:  # not what the page itself writes there
                value = event.target.value
                self._do(lambda: set_value(value))

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

    def _add_keys(self) -> None:
        for key, label, do in (
            ("space", "Play or pause", lambda: self._control("Toggle")),
            ("S", "One step", lambda: self._control("Step")),
            ("R", "Reset", lambda: self._control("Reset")),
            ("P", "Push", self._push_now),
        ):
            command = self._gui.add_command(label, hotkey=key)  # type: ignore[arg-type]
            command.on_trigger(lambda _, do=do: do())

    def _show_controls(self) -> None:
        """Writes what the session itself has changed into the controls, and the numbers."""
        session = self._session
        _put(self._driver, session.driver)
        if session.loaded is not None:
            there = session.source.checkpoints()
            options = tuple(dict.fromkeys([*there, session.loaded.checkpoint]))
            if tuple(self._checkpoint.options) != options:
                self._checkpoint.options = options
            _put(self._checkpoint, session.loaded.checkpoint)
        self._sliders_folder.visible = session.driver == SLIDERS
        self._pose_folder.visible = session.driver == POSE
        if session.driver == POSE:
            joint_q = session.env.state.joint_q[session.robot].tolist()
            for coordinate, slider in self._joints.items():
                _put(slider, float(np.clip(joint_q[coordinate], slider.min, slider.max)))
        for handle, text in (
            (self._status, self._describe()), (self._caption, _small(self._describe_images())),
        ):  # fmt: skip
            if handle.content != text:
                handle.content = text

    def _describe(self) -> str:
        session = self._session
        lines = []
        if session.loaded is not None:
            info = session.loaded.info
            made = "" if info.get("return") is None else f", return in training {info['return']:.0f}"
            lines.append(
                f"Iteration {info['iteration']}, {info['env_steps']:,} environment steps{made}"
            )
        length = session.env.episode_length
        if session.driver == POSE:
            lines.append("Standing still where the joint sliders put it")
        else:
            pace = f"{self._real_time:.2f} × real time" if session.playing else "paused"
            lines.append(
                f"Step <b>{session.episode_step()}</b> of {length} · return "
                f"<b>{session.episode_return():.1f}</b> · {pace}"
            )
        ended = [x for x in session.episodes if x.robot == session.robot][-3:]
        if ended:
            lines.append(
                "Episodes before: "
                + ", ".join(
                    f"{x.total:.0f} ({'failed' if x.failed else 'whole'}, {x.length} steps)"
                    for x in reversed(ended)
                )
            )
        return _small("<br>".join(lines))

    def _measure(self, now: float) -> None:
        """Measures how fast time passes, over half a second or more."""
        since, steps = self._pace
        if now - since >= 0.5 or self._session.trace.steps < steps:
            passed = (self._session.trace.steps - steps) * self._session.env.task.control_dt
            self._real_time = max(0.0, passed / (now - since))
            self._pace = (now, self._session.trace.steps)

    # ------------------------------------------------------------------ plots

    def _add_plots(self) -> None:
        empty = np.zeros(2)
        names = self._session.env.action_spec.names
        axes: tuple[uplot.Axis, ...] = ({"size": 24}, {"size": 48})
        self._rewards = self._gui.add_uplot(
            (empty, empty),
            ({"label": "time (s)"}, {"label": "reward", "stroke": _COLORS[0], "width": 2}),
            scales={"x": {"time": False}},
            axes=axes,
            title="Reward of a step",
            legend={"show": False},
            height=220,
        )
        lines: list[uplot.Series] = [
            {"label": name, "stroke": _COLORS[i % len(_COLORS)], "width": 1.5}
            for i, name in enumerate(names)
        ]
        self._actions = self._gui.add_uplot(
            (empty,) * (1 + len(names)),
            ({"label": "time (s)"}, *lines),
            scales={"x": {"time": False}, "y": {"auto": False, "min": -1.05, "max": 1.05}},
            axes=axes,
            title="Actions",
            legend={"show": False},
            height=320,
        )
        key = " · ".join(
            f'<span style="color:{_COLORS[i % len(_COLORS)]}">{escape(name) or f"action {i}"}</span>'
            for i, name in enumerate(names)
        )
        self._gui.add_html(_small(f"{key}<br>over seconds since the last reset"))

    def _show_plots(self) -> None:
        trace, robot = self._session.trace, self._session.robot
        if len(trace) < 2:  # a line has two points
            nothing = np.zeros(2)
            self._rewards.data = (nothing, nothing)
            self._actions.data = (nothing,) * (1 + len(self._session.env.action_spec.names))
            return
        times = trace.times()
        self._rewards.data = (times, trace.rewards(robot))
        self._actions.data = (times, *trace.actions(robot))

    # ------------------------------------------------------------------ pushes and sliders

    def _add_push(self) -> None:
        session, gui = self._session, self._gui
        if not session.bodies:
            self._strength = None
            return
        mass = float(sum(session.env.simulator.model.link_mass))
        largest = _round(3.0 * mass)
        with gui.add_folder("Push", expand_by_default=False):
            gui.add_html(
                _small(
                    "An impulse at the centre of mass of a body: velocities jump between two steps. "
                    "Or click on the robot, which pushes that part away from you."
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
        flat = np.cos(up)
        direction = np.array([np.cos(around) * flat, np.sin(around) * flat, np.sin(up)])
        self._push_along(direction, self._body.value, None)

    def _push_along(self, direction: np.ndarray, body: str, robot: int | None) -> None:
        if self._strength is not None:
            impulse = (float(self._strength.value) * direction).tolist()
            self._do(lambda: self._session.push(impulse, body, robot))

    def _add_sliders(self) -> None:
        session, gui = self._session, self._gui
        self._sliders_folder = gui.add_folder("Actions of all robots", visible=False)
        with self._sliders_folder:
            for index, name in enumerate(session.env.action_spec.names):
                slider = gui.add_slider(name or f"action {index}", -1.0, 1.0, 0.01, 0.0)
                self._listen(slider, lambda value, index=index: session.set_action(index, value))
        self._pose_folder = gui.add_folder("Joints of all robots", visible=False)
        self._joints: dict[int, Any] = {}
        with self._pose_folder:
            for coordinate, name, low, high in _joints(session, self._stage.joint_ranges()):
                slider = gui.add_slider(name, low, high, (high - low) / 200, max(low, min(0, high)))
                self._joints[coordinate] = slider
                self._listen(
                    slider,
                    lambda value, coordinate=coordinate: session.set_joint(coordinate, value),
                )


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
        slides = model.link_joint[link] == PRISMATIC
        low, high = ranges.get(coordinate, (-1.0, 1.0) if slides else (-np.pi, np.pi))
        unit = "m" if slides else "rad"
        found.append((coordinate, f"{name} ({unit})", round(low, 2), round(high, 2)))
    return found


def _small(text: str) -> str:
    """Sets a paragraph of HTML as the controls' own labels are."""
    return f'<div style="font-size:0.8em;line-height:1.5;padding:0 0.75em">{text}</div>'


def _embed(image: np.ndarray) -> str:
    """Writes a picture (H, W, 3) as HTML that shows every pixel as it is, as wide as there is room.
    """
    height, width = image.shape[:2]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<img alt="what the policy sees" decoding="sync" src="data:image/png;base64,{data}" '
        f'style="display:block;width:calc(100% - 1em);margin:0.3em 0.5em;max-height:14em;'
        f'aspect-ratio:{width}/{height};object-fit:contain;image-rendering:pixelated">'
    )


def _put(handle: Any, value: Any) -> None:
    """Writes a value into a control, where it differs."""
    if handle.value != value:
        handle.value = value


def _round(value: float) -> float:
    """Rounds a positive number to one digit."""
    digit = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(round(value / digit) * digit) or float(digit)
