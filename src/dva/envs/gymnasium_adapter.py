"""Environments for Gymnasium: NumPy arrays in and out, no gradients.

`gymnasium.make_vec("dva/Cartpole-v0", num_envs=64)` gives the batched adapter,
`gymnasium.make("dva/Cartpole-v0")` one robot; both take the keyword arguments of `dva.make`.
"""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dva.envs import make as making
from dva.envs.vector_env import VectorEnv as DvaVectorEnv

__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv"]

RENDER_MODES = ["rgb_array"]


class GymnasiumVectorEnv(VectorEnv):
    """Offers a `dva` environment as a Gymnasium `VectorEnv` with same-step restarts.

    Observations are dictionaries with the entries of the environment's observation spec, such as
    "state" float32 (N, O) and "pixels" uint8 (N, 3 * frame_stack, H, W); actions are float32 (N, A)
    in [-1, 1]. Where an episode ends, `infos["final_obs"][i]` is its last observation and
    `infos["final_info"]` holds its "episode_return", "episode_length" and "nonfinite", beside
    Gymnasium's masks ("_final_obs", ...).
    """

    def __init__(self, env: DvaVectorEnv, render_mode: str | None = None) -> None:
        """Wraps an environment made by `dva.make`.

        Args:
            env: the environment.
            render_mode: None, or "rgb_array" for `render()`.

        Raises:
            ValueError: the render mode is unknown, or `env` has sensors but no final observations.
        """
        _check(env, render_mode)
        self.env = env
        self.num_envs = env.num_envs
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": round(1 / env.task.control_dt),
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.single_observation_space = _observation_space(env)
        self.single_action_space = _action_space(env)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins new episodes in all environments, from one `seed`; `options` must be empty.

        Raises:
            ValueError: `options` is not empty, for instance asks for a partial reset.
        """
        super().reset(seed=seed)
        _check_options(options)
        return _to_numpy(self.env.reset(seed)), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes actions (N, A); returns observations, rewards, terminations, truncations, infos."""
        with torch.no_grad():
            observation, reward, terminated, truncated, info = self.env.step(
                _to_torch(actions, self.env)
            )
        terminations, truncations = terminated.cpu().numpy(), truncated.cpu().numpy()
        infos: dict[str, Any] = {}
        done = terminations | truncations
        if done.any():
            final = _to_numpy(info["final_observation"])
            final_obs = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                final_obs[i] = {name: value[i].copy() for name, value in final.items()}
            final_info = _masked(_episode_info(info), done)
            infos = _masked({"final_obs": final_obs, "final_info": final_info}, done)
        return _to_numpy(observation), reward.cpu().numpy(), terminations, truncations, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Renders all environments: N arrays uint8 (256, 256, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.env.render().permute(0, 2, 3, 1).cpu().numpy())

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environment inside."""
        self.env.close()


class GymnasiumEnv(gymnasium.Env):
    """Offers a `dva` environment of one robot as a Gymnasium `Env`; `reset` it after episodes."""

    def __init__(self, env: DvaVectorEnv, render_mode: str | None = None) -> None:
        """Wraps an environment made by `dva.make(..., num_envs=1)`.

        Raises:
            ValueError: as for `GymnasiumVectorEnv`, or the environment has more than one robot.
        """
        _check(env, render_mode)
        if env.num_envs != 1:
            raise ValueError(
                f"num_envs is {env.num_envs}; GymnasiumEnv takes 1. For more: GymnasiumVectorEnv."
            )
        self.env = env
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": round(1 / env.task.control_dt),
        }
        self.observation_space = _observation_space(env)
        self.action_space = _action_space(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins a new episode; `options` must be empty."""
        super().reset(seed=seed)
        _check_options(options)
        return _first(_to_numpy(self.env.reset(seed))), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes an action (A,); where the episode ends, returns its last observation."""
        with torch.no_grad():
            _, reward, terminated, truncated, info = self.env.step(
                _to_torch(np.asarray(action)[None], self.env)
            )
        observation = _first(_to_numpy(info["final_observation"]))
        done = bool(terminated), bool(truncated)
        # Python numbers, because Gymnasium's vector environments make object arrays of NumPy's.
        episode = {name: value.item() for name, value in _episode_info(info).items()}
        return observation, float(reward), *done, episode

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Renders the robot: uint8 (256, 256, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        return self.env.render()[0].permute(1, 2, 0).cpu().numpy()

    def close(self) -> None:
        """Closes the environment inside."""
        self.env.close()


def make_vector(
    task: str, num_envs: int = 1, render_mode: str | None = None, **arguments: Any
) -> GymnasiumVectorEnv:
    """Makes the adapter for `gymnasium.make_vec`; `arguments` go to `dva.make`."""
    return GymnasiumVectorEnv(making.make(task, num_envs, **arguments), render_mode)


def make_single(task: str, render_mode: str | None = None, **arguments: Any) -> GymnasiumEnv:
    """Makes the adapter for `gymnasium.make`; `arguments` go to `dva.make`."""
    return GymnasiumEnv(making.make(task, 1, **arguments), render_mode)


def _check(env: DvaVectorEnv, render_mode: str | None) -> None:
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode is {render_mode!r}; give None or one of {RENDER_MODES}.")
    if len(env.observation_spec) > 1 and not env.final_observations:
        raise ValueError(
            "final_observations is False, but Gymnasium wants every entry of final observations. "
            'Make the environment with final_observations=True (or observe="state").'
        )


def _check_options(options: dict[str, Any] | None) -> None:
    if options:
        raise ValueError(
            f"options is {options!r}; none exist. Episodes restart by themselves: leave it out."
        )


def _observation_space(env: DvaVectorEnv) -> spaces.Dict:
    return spaces.Dict(
        {
            entry.name: spaces.Box(
                entry.low, entry.high, entry.stacked_shape, np.dtype(entry.dtype).type
            )
            for entry in env.observation_spec.entries
        }
    )


def _action_space(env: DvaVectorEnv) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (env.action_size,), np.float32)


def _to_torch(actions: np.ndarray, env: DvaVectorEnv) -> torch.Tensor:
    return torch.tensor(np.asarray(actions), dtype=torch.float32, device=env.device)


def _to_numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    # Copies: a tensor of the environment and the caller's array must not share memory.
    return {name: np.array(x.detach().cpu().numpy()) for name, x in sorted(tensors.items())}


def _episode_info(info: dict[str, Any]) -> dict[str, np.ndarray]:
    return _to_numpy({x: info[x] for x in ("episode_return", "episode_length", "nonfinite")})


def _masked(entries: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    return {**entries, **{f"_{name}": mask.copy() for name in entries}}


def _first(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: value[0] for name, value in arrays.items()}
