"""One observation space for several games of planes, so that one agent can play them all.

Planes, not pictures: a picture would be of one shape at once, but a network over 17 by 17 cells has
14 times fewer places to go through than one over 64 by 64 pixels, and planes cost less to make.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from metarl.types import Environment, Key, PyTree, TimeStep
from metarl.wrappers.base import Inner, Wrapper


@dataclass(frozen=True)
class Alike(Wrapper):
    """One of several games whose observations have one shape; see `alike`."""

    number: int = 0  # of this game among
    count: int = 1  # so many
    marks: int = 1  # planes of 0 and 1
    gauges: int = 0  # planes of 0 to 255
    side: int = 1  # cells

    @property
    def observation_space(self) -> Box:
        """Marks, gauges, and a plane for each game that is 1 in this game's own."""
        high = np.repeat(np.array([1, 255, 1], np.uint8), [self.marks, self.gauges, self.count])
        shape = (len(high), self.side, self.side)
        return Box(0, np.broadcast_to(high[:, None, None], shape), shape, np.uint8)

    def reset(self, key: Key, params: PyTree) -> tuple[Inner, TimeStep]:
        """Starts an episode. The key is consumed."""
        env, ts = self.env.reset(key, params)
        return Inner(env), ts.replace(obs=self._shown(ts.obs))

    def step(
        self, key: Key, state: Inner, action: jax.Array, params: PyTree
    ) -> tuple[Inner, TimeStep]:
        """Advances one step. The key is consumed."""
        env, ts = self.env.step(key, state.env, action, params)
        return Inner(env), ts.replace(obs=self._shown(ts.obs))

    def observe_inner(self, state: Inner, params: PyTree) -> tuple[jax.Array, Any]:
        """The inner `observe`, made alike."""
        obs, mask = super().observe_inner(state, params)
        return self._shown(obs), mask

    def _shown(self, obs: jax.Array) -> jax.Array:
        marks = _marks(self.env.observation_space)
        before = (self.side - obs.shape[1]) // 2
        margin = (before, self.side - obs.shape[1] - before)
        parts = [
            jnp.pad(obs[where], ((0, most - len(where)), margin, margin))
            for where, most in (
                (np.flatnonzero(marks), self.marks),
                (np.flatnonzero(~marks), self.gauges),
            )
        ]
        own = (np.arange(self.count) == self.number).astype(np.uint8)[:, None, None]
        here = jnp.broadcast_to(jnp.asarray(own), (self.count, self.side, self.side))
        return jnp.concatenate([*parts, here])


def alike(envs: Sequence[Environment]) -> tuple[Alike, ...]:
    """The same games, each shown in the planes of the largest.

    Planes of 0 and 1 come first, then those of more, each kind filled up with zeros; smaller views
    lie in the middle. A plane may mean one thing in one game and another in the next, so as many
    planes as there are games say which it is, as colours would in pictures.

    Raises:
      ValueError: observations are no square planes of uint8 from 0 up.
    """
    for env in envs:
        space = env.observation_space
        shape = space.shape or ()
        square = isinstance(space, Box) and len(shape) == 3 and shape[1] == shape[2]
        if not square or space.dtype != np.uint8:
            raise ValueError(f"alike needs square planes of uint8, but {env} shows {space}")
    marks = [_marks(env.observation_space) for env in envs]
    sizes = {
        "marks": max(int(m.sum()) for m in marks),
        "gauges": max(int((~m).sum()) for m in marks),
        "side": max((env.observation_space.shape or ())[1] for env in envs),
    }
    return tuple(Alike(env, i, len(envs), **sizes) for i, env in enumerate(envs))


def _marks(space: Any) -> np.ndarray:
    """[C] bool, planes of nothing but 0 and 1."""
    return np.asarray(space.high).max(axis=(1, 2)) <= 1
