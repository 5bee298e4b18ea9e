"""Snake: eat fruit, grow, and run into neither yourself nor the wall.

Rules of jumanji's Snake-v1 (Bonnet et al. 2024, https://arxiv.org/abs/2306.09884), with four
differences: the time limit truncates instead of terminating; a snake that hits the wall is shown
where it last stood; a full board shows no fruit; a snake without a legal move may play any.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.spaces import FourMoves
from metarl.envs.steps import opening, outcome
from metarl.envs.ways import ahead, heading
from metarl.ops import keys
from metarl.ops.control import apart, rarely
from metarl.types import Key, TimeStep

_PIXELS = 16  # a side of a rendered cell
_GUESSES = 3  # cells tried for a new fruit before the free ones are counted


class Params(struct.PyTreeNode):
    """Dynamic settings."""

    max_steps: jax.Array  # [] int32, steps until truncation
    fruit_reward: jax.Array  # [] float32
    death_reward: jax.Array  # [] float32, for a step into the wall or the body


class State(struct.PyTreeNode):
    """One episode in progress; a cell is `row * size + column`."""

    body: jax.Array  # [cells] uint8 or uint16, steps until the cell is free: `length` at the head
    head: jax.Array  # [] int32, cell
    fruit: jax.Array  # [] int32, cell, or -1 on a full board
    length: jax.Array  # [] int32
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Snake(FourMoves):
    """The board is `size` by `size`; actions are up, right, down, left.

    The snake moves at every step: an illegal action ends the episode. The tail's cell frees as the
    head enters it, unless the snake eats, so a snake of length 2 may turn back on itself. An action
    number out of range is clipped. The best return is `size**2 - 1` fruits.
    """

    size: int = 12

    def __post_init__(self):
        if not 2 <= self.size <= 255:
            raise ValueError(f"size must lie in 2..255, got {self.size}")

    @property
    def observation_space(self) -> Box:
        """Planes body, head, tail, fruit, and order: steps until the cell is free, at most 255."""
        high = np.array([1, 1, 1, 1, min(self.size**2, 255)], np.uint8)[:, None, None]
        shape = (5, self.size, self.size)
        return Box(np.zeros(shape, np.uint8), np.broadcast_to(high, shape), dtype=np.uint8)

    def default_params(self) -> Params:
        """The published setting: 4000 steps, 1 for a fruit, 0 for dying."""
        return Params(jnp.int32(4000), jnp.float32(1), jnp.float32(0))

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """A snake of length 1 and a fruit on two random cells. The key is consumed."""
        head_word, fruit_word = keys.words(key, 2)
        head = keys.below(head_word, self.size**2)
        fruit = keys.below(fruit_word, self.size**2 - 1)
        fruit = fruit + (fruit >= head)
        body = self._at(head).astype(self._dtype)
        state = State(body, head, fruit, jnp.int32(1), jnp.int32(0))
        obs, mask = self.observe(state, params)
        return state, opening(obs, mask)

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the head one cell. The key is consumed."""
        head, inside = self._target(state.head, jnp.clip(action, 0, 3))
        eats = inside & (head == state.fruit)
        dies = ~inside | (_at(state.body, head) > 1)
        length = state.length + eats
        wins = length == self.size**2
        freed = (inside & ~eats).astype(self._dtype)
        body = state.body - jnp.minimum(state.body, freed)
        fruit = jnp.where(wins, -1, self._new_fruit(key, state.body, head, eats & ~wins))
        state = State(
            body=jnp.where(self._at(head), length.astype(self._dtype), body),
            head=head,
            fruit=jnp.where(eats, fruit, state.fruit),
            length=length,
            time=state.time + 1,
        )
        terminated = dies | wins
        reward = params.fruit_reward * eats + params.death_reward * dies
        obs, mask = self.observe(state, params)
        return state, outcome(obs, reward, terminated, state.time >= params.max_steps, mask)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array]:
        """The planes and the moves that do not kill."""
        del params
        state = apart(state)
        ways = [self._target(state.head, jnp.int32(action)) for action in range(4)]
        legal = [inside & (_at(state.body, cell) <= 1) for cell, inside in ways]
        mask = jnp.concatenate([one[None] for one in legal])
        planes = apart(self._planes(state)).reshape(5, self.size, self.size)
        return planes, mask | ~mask.any()

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: a green snake that darkens towards its tail, a red fruit."""
        (body, head, _, fruit, _), _ = self.observe(state, params)
        order = state.body.reshape(self.size, self.size) / state.length
        square = jnp.indices((self.size, self.size)).sum(axis=0) % 2
        body, head, fruit, order, square = map(_magnify, (body, head, fruit, order, square))
        segment, eyes, disc = (np.tile(t, (self.size, self.size))[..., None] for t in _tiles())
        picture = jnp.array([29, 33, 40]) + square * jnp.array([5, 5, 6])
        green = jnp.array([46, 110, 62]) + order * jnp.array([60, 100, 30])
        picture = picture + body * segment * (green - picture)
        picture = picture + head * eyes * (20 - picture)
        picture = picture + fruit * disc * (jnp.array([226, 74, 70]) - picture)
        return jnp.round(picture).astype(jnp.uint8)

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `@` head, `o` body, `*` fruit, `.` free."""
        (body, head, _, fruit, _), _ = jax.device_get(self.observe(state, params))
        signs = np.where(head > 0, "@", np.where(body > 0, "o", np.where(fruit > 0, "*", ".")))
        return "\n".join("".join(row) for row in signs)

    @property
    def _dtype(self) -> jax.typing.DTypeLike:
        return jnp.uint8 if self.size**2 <= 255 else jnp.uint16

    def _at(self, cell: jax.Array) -> jax.Array:
        """[cells] bool, true at `cell`; in the body's narrow type, which vectorises better."""
        return jnp.arange(self.size**2, dtype=self._dtype) == cell.astype(self._dtype)

    def _planes(self, state: State) -> jax.Array:
        """[5, cells] uint8, by one formula so that all planes are one loop.

        A plane shows where its source, the body or the cell's number in turn, equals its target;
        but the first where it differs from 0, and the last the body itself.
        """
        plane = jnp.arange(5)[:, None]
        head, fruit = state.head.astype(self._dtype), state.fruit.astype(self._dtype)
        source = jnp.where(plane % 2 == 0, state.body, jnp.arange(self.size**2, dtype=self._dtype))
        target = jnp.where(plane == 1, head, jnp.where(plane == 3, fruit, plane == 2))
        differs = jnp.minimum(source ^ target, 1)
        order = jnp.minimum(state.body, 255)
        return jnp.where(plane == 4, order, differs ^ (plane > 0)).astype(jnp.uint8)

    def _target(self, head: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The cell an action leads to, and whether it is on the board; if not, it is the head's."""
        return ahead(head, *heading(action), height=self.size, width=self.size)

    def _new_fruit(
        self, key: Key, body: jax.Array, head: jax.Array, needed: jax.Array
    ) -> jax.Array:
        """A uniform cell among those free of `body` and `head`, if `needed`.

        The first free one of a few uniform cells is uniform over the free ones; only where all
        were taken are the free ones counted.
        """
        *guesses, word = keys.words(key, _GUESSES + 1)
        cell, found = head, jnp.bool_(False)
        for guess in guesses:
            cell = jnp.where(found, cell, keys.below(guess, self.size**2))
            found = (_at(body, cell) == 0) & (cell != head)
        return rarely(needed & ~found, self._count_free, (word, body, head), cell)

    def _count_free(self, word: jax.Array, body: jax.Array, head: jax.Array) -> jax.Array:
        """The cell whose number among the free ones is drawn, in two steps: its row, its column."""
        free = ((body == 0) & ~self._at(head)).reshape(self.size, self.size)
        up_to = jnp.triu(jnp.ones((self.size, self.size)))  # x @ up_to: sums of x so far
        rows = jnp.sum(free, axis=1, dtype=jnp.float32) @ up_to  # [size]
        drawn = keys.below(word, rows[-1].astype(jnp.int32)).astype(jnp.float32)
        row = jnp.sum(rows <= drawn, dtype=jnp.int32)
        before = jnp.max(jnp.where(rows <= drawn, rows, 0))
        columns = free[row].astype(jnp.float32) @ up_to
        return row * self.size + jnp.sum(columns <= drawn - before, dtype=jnp.int32)


def _at(body: jax.Array, cells: jax.Array) -> jax.Array:
    """The body's value at cells that are known to be on the board."""
    return body.at[cells].get(mode="promise_in_bounds")


def _magnify(plane: jax.Array) -> jax.Array:
    """From cells [H, W] to pixels [16 H, 16 W, 1]."""
    return plane.repeat(_PIXELS, axis=0).repeat(_PIXELS, axis=1)[..., None]


def _tiles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much of each pixel of a cell is covered, [16, 16] each: body, eyes, fruit."""
    y, x = np.mgrid[:_PIXELS, :_PIXELS] - (_PIXELS - 1) / 2
    corner = np.hypot(np.maximum(abs(x) - 4, 0), np.maximum(abs(y) - 4, 0))
    eye, centre = np.hypot(abs(x) - 3, y + 2), np.hypot(x, y)
    body, eyes, fruit = (np.clip(r - d, 0, 1) for r, d in ((3.5, corner), (2, eye), (5.5, centre)))
    return body, eyes, fruit
