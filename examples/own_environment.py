"""An environment of one's own in twenty lines, registered, checked and learned.

python examples/own_environment.py
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

import metarl
from metarl.types import TimeStep


# [corridor]
@dataclass(frozen=True)
class Corridor:
    """Walk to the right end of a corridor in at most three times its length."""

    length: int = 8  # fixes shapes, so a field; numbers would live in params
    num_actions = 2
    action_space = Discrete(2)  # left, right

    @property
    def observation_space(self):
        return Box(0, 1, (self.length,), np.uint8)

    def default_params(self):
        return ()

    def reset(self, key, params):
        state = (jnp.int32(0), jnp.int32(0))  # position, time
        return state, self._show(state)

    def step(self, key, state, action, params):
        position = jnp.clip(state[0] + 2 * action - 1, 0, self.length - 1)
        state = (position, state[1] + 1)
        return state, self._show(state)

    def _show(self, state):
        position, time = state
        obs = (jnp.arange(self.length) == position).astype(jnp.uint8)
        there = position == self.length - 1  # the task ended, or only the clock ran out
        return TimeStep(obs, there.astype(jnp.float32), there, ~there & (time >= 3 * self.length))


metarl.register("Corridor-v0", Corridor)
# [end]


def main() -> None:
    """Checks the environment, then trains PPO on it."""
    from metarl.agents.mlp import mlp
    from metarl.rollout import vectorize
    from metarl.rules import ppo
    from metarl.testing import check_env
    from metarl.train import train

    env = metarl.make("Corridor-v0", length=6)
    check_env(env)
    agent = mlp(env, ppo.heads(env), hidden=(32,))
    rule = ppo.ppo(agent, ppo.heads(env))
    venv = vectorize(env, num_envs=16)
    run = lambda key: train(  # noqa: E731
        agent, rule, venv, key, env_params=env.default_params(), updates=50, length=16
    )
    _, metrics = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 3))  # three seeds
    print("mean episode length:", np.nanmean(metrics["episode_length"][:, -10:]), "(best: 5)")


if __name__ == "__main__":
    main()
