"""PPO of Stable-Baselines3 on these environments: a learner that knows nothing of dva.

    pip install stable-baselines3
    python stable_baselines3_ppo.py

Gymnasium's wrappers and learners take `gymnasium.make_vec("dva/Cartpole-v0")` as it is.
Stable-Baselines3 has vector environments of its own kind, hence the small class here.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import dva
from dva.envs import GymnasiumVectorEnv


class StateVecEnv(VecEnv):
    """Offers the states of a `dva` environment to Stable-Baselines3."""

    def __init__(self, env: GymnasiumVectorEnv) -> None:
        observations = env.single_observation_space
        assert isinstance(observations, spaces.Dict)
        self.env = env
        super().__init__(env.num_envs, observations["state"], env.single_action_space)
        self.actions = np.empty(0, np.float32)
        self.returns: list[float] = []
        """Returns of the finished episodes."""

    def reset(self) -> np.ndarray:
        return self.env.reset(seed=self._seeds[0])[0]["state"]

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, infos = self.env.step(self.actions)
        done = terminated | truncated
        told: list[dict[str, Any]] = [{} for _ in done]
        for i in np.flatnonzero(done):
            final = infos["final_info"]
            told[i] = {
                "terminal_observation": infos["final_obs"][i]["state"],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                "episode": {
                    "r": float(final["episode_return"][i]), "l": int(final["episode_length"][i]),
                },
            }  # fmt: skip
            self.returns.append(told[i]["episode"]["r"])
        return observation["state"], reward, done, told

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("The robots share one environment.")

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError("The robots share one environment.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Runs the program; returns the returns of all episodes, in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few thousand steps")
    flags = parser.parse_args(arguments)
    robots, steps = (8, 32) if flags.quick else (32, 128)
    made = dva.make("cartpole", robots, device="cpu", observe="state", threads=1)
    env = StateVecEnv(GymnasiumVectorEnv(made))
    model = PPO(
        "MlpPolicy", env, n_steps=steps, batch_size=256, learning_rate=1e-3, device="cpu",
        seed=0, policy_kwargs={"log_std_init": -0.5},
    )  # fmt: skip
    model.learn(2_048 if flags.quick else 400_000)
    env.close()
    print(f"mean return of the first {robots} episodes  {np.mean(env.returns[:robots]):8.1f}")
    print(f"mean return of the last {robots} episodes   {np.mean(env.returns[-robots:]):8.1f}")
    return env.returns


if __name__ == "__main__":
    main()
