"""Random tabular Markov decision processes, a task distribution of RL^2.

Duan et al. 2016 (https://arxiv.org/abs/1611.02779), after Osband et al. 2013. Every episode starts
in state 0, as in the code for rllab that bears its name.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from gymnasium.spaces import Discrete

from metarl.envs.spaces import Choices
from metarl.envs.splits import draw_level
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings; `transitions` and `rewards` make a task."""

    transitions: jax.Array  # [S, A, S] float32, probability of each next state
    rewards: jax.Array  # [S, A] float32, mean reward
    noise: jax.Array  # [] float32, standard deviation of a reward
    horizon: jax.Array  # [] int32, steps of an episode
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    state: jax.Array  # [] int32
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class TabularMDP(Choices):
    """`states` states and `num_actions` actions; the state is observed, the time is not.

    The reward of a state and an action is normal around its mean. An episode terminates after
    `horizon` steps: the return is their sum, and `optimal_return` says the best one exactly. An
    action number out of range is clipped.
    """

    states: int = 10
    num_actions: int = 5

    def __post_init__(self):
        if self.states < 1 or self.num_actions < 1:
            raise ValueError(f"states and num_actions must be at least 1, got {self}")

    @property
    def observation_space(self) -> Discrete:
        """The number of the state."""
        return Discrete(self.states)

    def default_params(self) -> Params:
        """One of the tasks that `sample_params` draws; unit noise, ten steps."""
        return self.sample_params(jax.random.key(0))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """Flat Dirichlet transitions, mean rewards normal around 1. The key is consumed."""
        shape = (self.states, self.num_actions)

        def make(key: Key) -> Params:
            transition_key, reward_key = jax.random.split(key)
            weights = jax.random.exponential(transition_key, (*shape, self.states))
            return Params(
                transitions=weights / weights.sum(axis=-1, keepdims=True),
                rewards=1 + jax.random.normal(reward_key, shape),
                noise=jnp.float32(1),
                horizon=jnp.int32(10),
                max_steps=jnp.int32(ENDLESS),
            )

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Starts in state 0. The key is not used."""
        state = State(jnp.int32(0), jnp.int32(0))
        return state, opening(state.state)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Draws a reward and the next state. The key is consumed."""
        words = keys.words(key, 2)
        at = state.state, jnp.clip(action, 0, self.num_actions - 1)
        reward = params.rewards[at] + params.noise * keys.normal(words[0])
        passed = jnp.cumsum(params.transitions[at])[:-1] <= keys.unit(words[1])
        state = State(jnp.sum(passed, dtype=jnp.int32), state.time + 1)
        ends, late = state.time >= params.horizon, state.time >= params.max_steps
        return state, outcome(state.state, reward, ends, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The number of the state, [] int32."""
        del params
        return state.state, None

    def render(self, state: State, params: Params) -> jax.Array:
        """Mean rewards, a row per state: the redder the lower, the greener the higher.

        The state is marked at the left.
        """
        shade = jnp.clip(params.rewards / 3, -1, 1)[..., None]  # [S, A, 1]
        low, high = jnp.array([214, 72, 66]), jnp.array([72, 158, 92])
        cells = 235 + abs(shade) * (jnp.where(shade < 0, low, high) - 235)
        here = (jnp.arange(self.states) == state.state)[:, None, None]
        mark = jnp.where(here, jnp.array([50, 90, 200]), 235.0)
        picture = jnp.concatenate([mark, cells], axis=1).astype(jnp.uint8)
        return picture.repeat(16, axis=0).repeat(16, axis=1)

    def render_text(self, state: State, params: Params) -> str:
        """A line such as `step 3  state 7  rewards 0.52 1.60 -0.31`."""
        rewards = " ".join(f"{reward:.2f}" for reward in params.rewards[state.state])
        return f"step {int(state.time)}  state {int(state.state)}  rewards {rewards}"


def optimal_return(params: Params) -> jax.Array:
    """The best expected return of an episode, by backward induction; [] float32."""

    def earlier(_: jax.Array, values: jax.Array) -> jax.Array:  # [S] -> [S], with one step more
        return jnp.max(params.rewards + params.transitions @ values, axis=1)

    values = jnp.zeros(params.rewards.shape[0])
    return jax.lax.fori_loop(0, params.horizon, earlier, values)[0]
