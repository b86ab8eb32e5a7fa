"""The page of a viewer: the robot, what its policy sees, plots, numbers."""

import base64
import contextlib
import io
import time
from html import escape

import numpy as np
import viser
from PIL import Image
from viser import uplot

from dva.viewer.live.controls import Controls, Do, small
from dva.viewer.live.pictures import beside, heat, picture, seen
from dva.viewer.live.scene import Stage
from dva.viewer.live.session import POSE, Session

__all__ = ["Page"]

_IMAGE_PERIOD, _PLOT_PERIOD = 1 / 15, 1 / 4
"""Seconds between pictures of images, and between plots, at least."""
_IMAGE_SHARE = 0.2
"""Share of the time that images may take; the rest is for physics, policy and robot."""
_COLORS = (
    "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777",
    "#4f46e5", "#65a30d", "#0d9488", "#7c3aed",
)  # fmt: skip
_ACTION_STEPS = 60
"""Steps whose actions are drawn."""
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

    def __init__(self, session: Session, do: Do, host: str, port: int) -> None:
        self._session, self._do = session, do
        with contextlib.redirect_stdout(io.StringIO()):  # it says its address in its own way
            self._server = _Server(host, port, label=f"dva · {session.source.name}", verbose=False)
        self._gui = self._server.gui
        self._dark = True
        self._turn()
        self._stage = Stage(self._server, session, self._push)
        self._next_image = self._plotted = -1.0
        self._stale = {"image": True, "plot": True}
        self._pace: tuple[float, int] = (0.0, 0)
        """When time was last looked at, and the steps so far then."""
        self._real_time = 0.0
        self._add_sight()
        self._status = self._gui.add_html("")
        self._controls = Controls(self._gui, session, self._stage, do)
        self._gui.main_panel.dock_right()
        plots = self._gui.add_panel()
        with plots.add_tab("Plots"):
            self._add_plots()
        plots.dock_left()
        self._gui.add_command("Light or dark", hotkey="D").on_trigger(lambda _: self._turn())

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
            self._plotted, self._stale["plot"] = now, False
            self._measure(now)
            self._show_plots()
            self._show_words()
            self._controls.show()

    def stop(self) -> None:
        """Lets go of the port."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _turn(self) -> None:
        """Makes the panels light if they are dark, and dark if they are light."""
        self._dark = not self._dark
        self._gui.configure_theme(
            show_logo=False, show_share_button=False, control_width="large",
            brand_color=(37, 99, 235), dark_mode=self._dark,
        )  # fmt: skip

    def _push(self, direction: np.ndarray, body: str, robot: int) -> None:
        self._controls.push(direction, body, robot)

    # ------------------------------------------------------------------ images

    def _add_sight(self) -> None:
        self._gui.add_html(_STYLE)
        self._caption = self._gui.add_html("")
        self._image = self._gui.add_html("")
        self._salient = self._gui.add_checkbox(
            "Saliency", True, hint="Bright pixels change the policy's next action most.",
            visible=bool(self._session.images) and self._session.policy is not None,
        )  # fmt: skip
        # Whatever is done makes the page show everything anew.
        self._salient.on_update(lambda _: self._do(lambda: None))

    def _show_images(self) -> None:
        session = self._session
        maps = session.saliency() if self._salient.value else {}
        row = []
        for entry in session.images:
            base = picture(entry, seen(session.policy, entry, session.observed(entry.name)))
            row.append(base)
            if entry.name in maps:
                row.append(heat(base, maps[entry.name]))
        if not row:
            image = session.env.render(128, env_ids=[session.robot])[0]
            row = [image.permute(1, 2, 0).cpu().numpy()]
        # Inside the page's own text: a link to it might be gone before a slow browser follows it.
        self._image.content = _embed(beside(row))

    # ------------------------------------------------------------------ words

    def _show_words(self) -> None:
        for handle, text in (
            (self._status, self._describe()), (self._caption, self._describe_images()),
        ):  # fmt: skip
            if handle.content != small(text):
                handle.content = small(text)

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

    def _describe(self) -> str:
        session = self._session
        lines = []
        if session.loaded is not None:
            info = session.loaded.info
            line = f"Iteration {info['iteration']}, {info['env_steps']:,} environment steps"
            if info.get("return") is not None:
                line += f", return in training {info['return']:.0f}"
            lines.append(line)
        if session.driver == POSE:
            lines.append("Standing still where the joint sliders put it")
        else:
            pace = f"{self._real_time:.2f} × real time" if session.playing else "paused"
            lines.append(
                f"Step <b>{session.episode_step()}</b> of {session.env.episode_length} · return "
                f"<b>{session.episode_return():.1f}</b> · {pace}"
            )
        ended = [
            f"{x.total:.0f} ({'failed' if x.failed else 'whole'}, {x.length} steps)"
            for x in reversed(session.episodes)
            if x.robot == session.robot
        ]
        if ended:
            lines.append(f"Episodes before: {', '.join(ended[:3])}")
        return "<br>".join(lines)

    def _measure(self, now: float) -> None:
        """Measures how fast time passes, over half a second or more."""
        since, steps = self._pace
        made = self._session.trace.steps
        if now - since >= 0.5 or made < steps:
            passed = max(0, made - steps) * self._session.env.task.control_dt
            self._real_time = passed / max(now - since, 1e-9)
            self._pace = (now, made)

    # ------------------------------------------------------------------ plots

    def _add_plots(self) -> None:
        names = self._session.env.action_spec.names
        nothing = np.zeros(2)
        axes: tuple[uplot.Axis, ...] = ({"size": 24}, {"size": 48})
        self._rewards = self._gui.add_uplot(
            (nothing, nothing),
            ({"label": "time (s)"}, {"label": "reward", "stroke": _COLORS[0], "width": 2}),
            scales={"x": {"time": False}},
            axes=axes,
            title="Reward of a step",
            legend={"show": False},
            height=220,
        )
        colors = [_COLORS[i % len(_COLORS)] for i in range(len(names))]
        words = [escape(name) or f"action {i}" for i, name in enumerate(names)]
        lines: list[uplot.Series] = [
            {"label": name, "stroke": color, "width": 1.5}
            for name, color in zip(words, colors, strict=True)
        ]
        self._actions = self._gui.add_uplot(
            (nothing,) * (1 + len(names)),
            ({"label": "time (s)"}, *lines),
            scales={"x": {"time": False}, "y": {"auto": False, "min": -1.05, "max": 1.05}},
            axes=axes,
            title="Actions",
            legend={"show": False},
            height=320,
        )
        key = " · ".join(
            f'<span style="color:{color}">{word}</span>'
            for word, color in zip(words, colors, strict=True)
        )
        self._gui.add_html(small(f"{key}<br>over seconds since the last reset"))

    def _show_plots(self) -> None:
        trace, robot = self._session.trace, self._session.robot
        if len(trace) < 2:  # a line has two points
            nothing = np.zeros(2)
            self._rewards.data = (nothing, nothing)
            self._actions.data = (nothing,) * (1 + self._session.env.action_size)
            return
        times = trace.times()
        self._rewards.data = (times, trace.rewards(robot))
        recent = slice(-_ACTION_STEPS, None)  # more would be a thicket
        self._actions.data = (times[recent], *trace.actions(robot)[:, recent])


def _embed(image: np.ndarray) -> str:
    """Writes a picture (H, W, 3) as HTML that shows every pixel sharply, as wide as it may."""
    height, width = image.shape[:2]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<img alt="what the policy sees" decoding="sync" src="data:image/png;base64,{data}" '
        f'style="display:block;width:calc(100% - 1em);margin:0.3em 0.5em;max-height:14em;'
        f'aspect-ratio:{width}/{height};object-fit:contain;image-rendering:pixelated">'
    )
