"""Stable-Baselines3 trains its PPO on `metarl/Snake-v0`.

pip install "metarl-jax[sb3]"; python examples/sb3_snake.py

A single environment, `gymnasium.make("metarl/Snake-v0")`, needs nothing more. Here many are stepped
by one compiled programme and shown to Stable-Baselines3 as the `VecEnv` it knows.
"""

import sys
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import metarl.gym


class Vectorised(VecEnv):
    """Stable-Baselines3 wants the new start at once, and the final observation in `infos`."""

    def __init__(self, name: str, num_envs: int, **settings: Any):
        self.envs = gymnasium.make_vec(
            name, num_envs=num_envs, autoreset_mode="SameStep", **settings
        )
        spaces = self.envs.single_observation_space, self.envs.single_action_space
        super().__init__(num_envs, *spaces)

    def reset(self):
        seeds = None if None in self._seeds else self._seeds
        obs, _ = self.envs.reset(seed=seeds)
        self._reset_seeds()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self):
        obs, reward, terminated, truncated, infos = self.envs.step(self._actions)
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            rows[i]["terminal_observation"] = infos["final_obs"][i]
            rows[i]["TimeLimit.truncated"] = bool(truncated[i])
        return obs, reward.astype(np.float32), terminated | truncated, rows

    def close(self) -> None:
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.envs, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("the environments are one programme")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any):
        raise NotImplementedError("the environments are one programme")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> Sequence[bool]:
        return [False] * self.num_envs


def main(steps: int = 200_000) -> tuple[float, float]:
    """Trains for `steps` steps; returns the mean return of 20 episodes before and after."""
    name = "metarl/Snake-v0"
    settings: dict[str, Any] = {"size": 6, "max_steps": 200}
    assert name in gymnasium.registry, metarl.gym.__doc__
    check_env(gymnasium.make(name, **settings).unwrapped)
    venv = VecMonitor(Vectorised(name, 64, **settings))
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=512, n_epochs=4, seed=0, device="cpu")
    before, _ = evaluate_policy(model, venv, 20, deterministic=False)
    model.learn(steps)
    after, _ = evaluate_policy(model, venv, 20, deterministic=False)
    print(f"mean return of 20 episodes: {before:.2f} before, {after:.2f} after {steps} steps")
    return float(before), float(after)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
