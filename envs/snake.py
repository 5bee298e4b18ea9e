"""Snake: eat fruit, grow, and run into neither yourself nor the wall.

Rules of jumanji's Snake-v1 (Bonnet et al. 2024, https://arxiv.org/abs/2306.09884), with two
differences: the horizon truncates instead of terminating, and the last observation of a snake
that left the board shows it where it last stood.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from gymnasium.spaces import Box, Discrete

from metarl.ops import keys
from metarl.types import Key, TimeStep

_CANDIDATES = 4


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    max_steps: jax.Array  # [] int32, steps until truncation
    fruit_reward: jax.Array  # [] float32
    death_reward: jax.Array  # [] float32


class State(struct.PyTreeNode):
    """`body[c]` counts the steps until cell `c` is free again; the head holds `length`."""

    body: jax.Array  # [cells] uint8, or uint16 beyond 255 cells
    head: jax.Array  # [] int32, cell index
    fruit: jax.Array  # [] int32, cell index
    length: jax.Array  # [] int32
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Snake:
    """The board is `size` by `size`; actions are up, right, down, left."""

    size: int = 12

    @property
    def num_actions(self) -> int:
        return 4

    @property
    def action_space(self):
        return Discrete(4)

    def default_params(self) -> Params:
        return Params(jnp.int32(4000), jnp.float32(1), jnp.float32(0))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        del params
        word0, word1 = keys.words(key, 2)
        head = keys.below(word0, self._cells)
        fruit = keys.below(word1, self._cells - 1)
        fruit = fruit + (fruit >= head)
        body = (jnp.arange(self._cells) == head).astype(self._dtype)
        state = State(body, head, fruit, jnp.int32(1), jnp.int32(0))
        return state, self._timestep(state, jnp.float32(0), jnp.bool_(False), jnp.bool_(False))

    def step(self, key, state, action, params):
        target, inside = self._target(state.head, action)
        eats = (target == state.fruit) & inside
        dies = ~inside | (state.body[target] > 1)
        length = state.length + eats
        shrunk = state.body - ((state.body > 0) & ~eats)
        body = jnp.where(jnp.arange(self._cells) == target, length.astype(self._dtype), shrunk)
        fruit = jnp.where(eats, self._free_cell(key, body), state.fruit)
        state = State(body, target, fruit, length, state.time + 1)
        terminated = dies | (length == self._cells)
        truncated = ~terminated & (state.time >= params.max_steps)
        reward = jnp.where(eats, params.fruit_reward, 0.0) + jnp.where(dies, params.death_reward, 0.0)
        return state, self._timestep(state, reward, terminated, truncated)

    def observe(self, state, params):
        del params
        cell = jnp.arange(self._cells)
        planes = (
            state.body > 0,
            cell == state.head,
            state.body == 1,
            cell == state.fruit,
            state.body,
        )
        planes = jnp.stack([p.astype(jnp.uint8) for p in planes])
        return planes.reshape(5, self.size, self.size), self._mask(state)

    def _mask(self, state):
        target, inside = jax.vmap(self._target, in_axes=(None, 0))(state.head, jnp.arange(4))
        return inside & (state.body[target] <= 1)

    def _timestep(self, state, reward, terminated, truncated):
        obs, mask = self.observe(state, None)
        return TimeStep(obs, reward, terminated, truncated, mask)

    def _target(self, head, action):
        row, col = head // self.size, head % self.size
        r = row + (action == 2) - (action == 0)
        c = col + (action == 1) - (action == 3)
        inside = (r >= 0) & (r < self.size) & (c >= 0) & (c < self.size)
        return jnp.where(inside, r * self.size + c, head), inside

    def _free_cell(self, key, body):
        (word,) = keys.words(key, 1)
        if MODE == "hash":
            cell = jnp.arange(self._cells, dtype=jnp.uint32)
            x = word + cell * jnp.uint32(0x9E3779B9)
            x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
            x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
            x = (x & jnp.uint32(0xFFFFFF00)) | cell
            best = jnp.max(jnp.where(body == 0, x, 0))
            return (best & 0xFF).astype(jnp.int32)
        if MODE == "none":
            return keys.below(word, self._cells)
        def cand(i):
            x = word + jnp.uint32(i) * jnp.uint32(0x9E3779B9)
            x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
            x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
            return keys.below(x ^ (x >> 16), self._cells)
        out = cand(0)
        for i in range(1, 8):
            out = jnp.where(body[out] > 0, cand(i), out)
        return out

    @property
    def _cells(self): return self.size**2
    @property
    def _dtype(self): return jnp.uint8 if self._cells <= 255 else jnp.uint16
MODE="hash"
