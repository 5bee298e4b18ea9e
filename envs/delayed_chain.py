"""Delayed chains of the LPG paper: the first action decides, the last step pays.

Oh et al. 2020 (https://arxiv.org/abs/2007.08794) meta-train on five of them: short and long, each
with noisy rewards or without, and short with distractors. The paper's appendix was not at hand: the
ranges of lengths, 5 to 30 and 5 to 50, and the 20 distractors are those of a third party's
reimplementation. Our reading of the rest: the better action is drawn per task, so that a life can
learn it; the first action stays visible, so that the plain observation is the state.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box, Discrete

from metarl.envs.drawing import layered
from metarl.envs.spaces import Choices
from metarl.envs.splits import draw_level
from metarl.envs.steps import opening
from metarl.ops import keys
from metarl.types import Key, TimeStep

_SHORTEST = 5  # of the lengths that tasks have
_COLOURS = np.array([[70, 74, 84], [70, 170, 95], [205, 70, 65], [80, 130, 220]], np.uint8)


class Params(struct.PyTreeNode):
    """Dynamic settings: a task."""

    length: jax.Array  # [] int32, steps of an episode, 1 to `max_length`
    better: jax.Array  # [] int32, the first action that pays 1 in the end; the other one costs 1
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress."""

    choice: jax.Array  # [] int32, the first action, 0 before it
    time: jax.Array  # [] int32
    noise: jax.Array  # [] uint32, random bits that distractors show


@dataclass(frozen=True)
class DelayedChain(Choices):
    """An episode of `params.length` steps and two actions, of which only the first counts.

    The last step pays 1 if the first action was the task's better one, else -1, and terminates. If
    `noisy`, every step between the first and the last pays 1 or -1 at random. An action out of
    range is clipped. The best expected return is 1, that of random actions 0.

    The observation is the state's number: 0 at the start, then `2 * time - 1 + first action`. With
    `distractors` it is instead bits: whether this is the start, whether the first action was 1, and
    so many random ones, new at every step; how much time has passed is then hidden.
    """

    num_actions: ClassVar[int] = 2  # two branches

    max_length: int = 30
    noisy: bool = False
    distractors: int = 0

    def __post_init__(self):
        if self.max_length < _SHORTEST or not 0 <= self.distractors <= 31:
            raise ValueError(
                f"max_length is at least {_SHORTEST} and distractors are 0 to 31, got {self}"
            )

    @property
    def num_states(self) -> int:
        """The start, and two states for every step after it."""
        return 2 * self.max_length + 1

    @property
    def observation_space(self) -> Discrete | Box:
        """See the class."""
        if self.distractors:
            return Box(0, 1, (2 + self.distractors,), np.uint8)
        return Discrete(self.num_states)

    def default_params(self) -> Params:
        """The longest chain, on which action 1 is better."""
        return Params(jnp.int32(self.max_length), jnp.int32(1), jnp.int32(2**31 - 1))

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A length from 5 to `max_length`, and the better action. The key is consumed."""

        def make(key: Key) -> Params:
            length, better = keys.words(key, 2)
            length = _SHORTEST + keys.below(length, self.max_length - _SHORTEST + 1)
            return Params(length, keys.below(better, 2), jnp.int32(2**31 - 1))

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """The start of the chain. The key is consumed."""
        state = State(jnp.int32(0), jnp.int32(0), self._noise(key))
        obs, _ = self.observe(state, params)
        return state, opening(obs)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """One step along the chain. The key is consumed."""
        action = jnp.clip(action, 0, 1).astype(jnp.int32)
        choice = jnp.where(state.time == 0, action, state.choice)
        noise = self._noise(key)
        state = State(choice, state.time + 1, noise)
        terminated = state.time >= params.length
        truncated = ~terminated & (state.time >= params.max_steps)
        reward = jnp.where(terminated, _sign(choice == params.better), jnp.float32(0))
        if self.noisy:
            between = ~terminated & (state.time > 1)
            reward = jnp.where(between, _sign(noise >> 31 == 1), reward)
        obs, _ = self.observe(state, params)
        return state, TimeStep(obs, reward, terminated, truncated)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """What the class tells; every action is legal."""
        del params
        if self.distractors:
            bits = state.noise >> jnp.arange(self.distractors, dtype=jnp.uint32) & 1
            own = jnp.stack([state.time == 0, state.choice == 1])
            return jnp.concatenate([own, bits]).astype(jnp.uint8), None
        time = jnp.minimum(state.time, self.max_length)
        return jnp.where(time == 0, 0, 2 * time - 1 + state.choice), None

    def index(self, obs: jax.Array) -> jax.Array:
        """[] int32, the number of the state that an observation without distractors is.

        Raises:
          ValueError: distractors hide the state.
        """
        if self.distractors:
            raise ValueError(f"an observation of {self} does not tell the state")
        return obs

    def render(self, state: State, params: Params) -> jax.Array:
        """Two branches, sixteen pixels a cell: green pays in the end, red costs, the agent blue."""
        place = jnp.arange(self.max_length + 1)
        row, column = jnp.arange(2)[:, None], place[None]
        branch = (column > 0) & (column < params.length) | (column == 0) & (row == 0)
        end = column == params.length
        agent = (column == state.time) & (row == state.choice)
        better = row == params.better
        return layered(jnp.stack([branch, end & better, end & ~better, agent]), _COLOURS)

    def render_text(self, state: State, params: Params) -> str:
        """A line for each branch: `@` agent, `o` a state, `+` and `-` the ends."""
        lines = []
        for branch in range(2):
            end = "+" if branch == int(params.better) else "-"
            line = list(("o" if branch == 0 else " ") + "o" * (int(params.length) - 1) + end)
            if branch == int(state.choice):
                line[min(int(state.time), len(line) - 1)] = "@"
            lines.append("".join(line))
        return "\n".join(lines)

    def _noise(self, key: Key) -> jax.Array:
        """[] uint32, random bits where anything is random; the highest is the reward's."""
        return keys.words(key, 1)[0] if self.noisy or self.distractors else jnp.uint32(0)


def _sign(good: jax.Array) -> jax.Array:
    """[] float32, 1 or -1."""
    return 2 * good.astype(jnp.float32) - 1
