"""Two colours: one object pays, the other costs, and from time to time they change roles.

The grid of Flennerhag et al. 2022 (https://arxiv.org/abs/2109.04504) as Luketina et al. 2022
describe it. Their text puts the agent and the objects on new cells after a touch; as in both
public implementations, only the touched object moves here. The episodic form is that of Vuorio et
al. 2022 (https://arxiv.org/abs/2209.11303).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import MultiDiscrete

from metarl.envs import cells
from metarl.envs.drawing import layered
from metarl.envs.spaces import FourMoves, coordinate_space
from metarl.envs.splits import draw_level
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.ops import keys
from metarl.types import Key, TimeStep


class Params(struct.PyTreeNode):
    """Dynamic settings; `lived` and `flip_period` make a task."""

    good_reward: jax.Array  # [] float32, for touching the object that pays
    bad_reward: jax.Array  # [] float32, for touching the other
    step_reward: jax.Array  # [] float32, for every other step
    flip_period: jax.Array  # [] int32, steps after which the objects change roles
    lived: jax.Array  # [] int32, what the clock of the roles says when an episode starts
    max_steps: jax.Array  # [] int32, steps until truncation


class State(struct.PyTreeNode):
    """One episode in progress; a cell is `row * size + column`."""

    agent: jax.Array  # [] int32, cell
    first: jax.Array  # [] int32, cell of the object that pays in the first period
    second: jax.Array  # [] int32, cell of the other
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class TwoColours(FourMoves):
    """A `size` by `size` grid with an agent and two objects; actions are up, right, down, left.

    A move off the grid leaves the agent where it is; an action number out of range is clipped.
    Touching an object pays 1 or -1 and puts that object on a random cell that is free; every other
    step costs 0.04. Which object pays is never shown: the first in steps `0..flip_period - 1`, the
    second in the next period, and so on.

    Without a `horizon` there is one endless episode. With it an episode terminates after `horizon`
    steps and the time is observed. Roles outlive episodes, but an environment keeps nothing across
    a reset: the clock starts each episode at `params.lived`, and whoever plays several episodes in
    one life carries it on with `params.replace(lived=params.lived + steps)`.
    """

    size: int = 5
    horizon: int | None = None

    def __post_init__(self):
        if not 2 <= self.size <= 255:
            raise ValueError(f"size must lie in 2..255, got {self.size}")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 or None, got {self.horizon}")

    @property
    def observation_space(self) -> MultiDiscrete:
        """Row and column of agent, first and second object; then the time if there is a horizon.

        Time stops one before the horizon: nothing is decided after it.
        """
        return coordinate_space(self.size, 3, *([self.horizon] if self.horizon else []))

    def default_params(self) -> Params:
        """The published setting: roles flip every 100 000 steps, or 6400 with a horizon."""
        return Params(
            good_reward=jnp.float32(1),
            bad_reward=jnp.float32(-1),
            step_reward=jnp.float32(-0.04),
            flip_period=jnp.int32(6400 if self.horizon else 100_000),
            lived=jnp.int32(0),
            max_steps=jnp.int32(ENDLESS),
        )

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """The default but for `lived`, uniform over two periods. The key is consumed.

        With a horizon it is a multiple of it, so that flips stay between episodes.
        """
        params = self.default_params()

        def make(key: Key) -> Params:
            drawn = keys.unit(keys.words(key, 1)[0]) * 2 * params.flip_period
            lived = drawn.astype(jnp.int32)
            return params.replace(lived=lived - lived % (self.horizon or 1))

        return draw_level(make, key, split)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Puts everything on random cells, no two on one. The key is consumed."""
        words = keys.words(key, 3)
        agent = keys.below(words[0], self.size**2)
        first = cells.another(words[1], self.size**2, agent)
        second = cells.another(words[2], self.size**2, agent, first)
        state = State(agent, first, second, jnp.int32(0))
        return state, opening(self.observe(state, params)[0])

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Moves the agent one cell. The key is consumed."""
        agent = cells.moved(state.agent, action, self.size)
        on_first, on_second = agent == state.first, agent == state.second
        good = jnp.where(_flipped(state, params), on_second, on_first)
        touched = jnp.where(good, params.good_reward, params.bad_reward)
        reward = jnp.where(on_first | on_second, touched, params.step_reward)
        other = jnp.where(on_first, state.second, state.first)
        fresh = cells.another(keys.words(key, 1)[0], self.size**2, agent, other)
        state = State(
            agent,
            jnp.where(on_first, fresh, state.first),
            jnp.where(on_second, fresh, state.second),
            state.time + 1,
        )
        terminated = state.time >= self.horizon if self.horizon else jnp.bool_(False)
        late = state.time >= params.max_steps
        return state, outcome(self.observe(state, params)[0], reward, terminated, late)

    def observe(self, state: State, params: Params) -> tuple[jax.Array, None]:
        """The coordinates, and the time if there is a horizon; [6] or [7] unsigned."""
        del params
        obs = cells.coordinates(self.size, state.agent, state.first, state.second)
        if self.horizon:
            time = jnp.minimum(state.time, self.horizon - 1)[None]
            obs = jnp.concatenate([obs, time]).astype(self.observation_space.dtype)
        return obs, None

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: the agent white, the first object red, the second blue."""
        del params
        colours = [[235, 235, 235], [214, 72, 66], [74, 118, 214]]
        planes = cells.planes(self.size, state.agent, state.first, state.second)
        return layered(planes, np.array(colours, np.uint8))

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `A` agent, `+` the object that pays now, `-` the other."""
        flipped = bool(_flipped(state, params))
        signs = "-+" if flipped else "+-"
        return cells.text(
            self.size, {signs[0]: state.first, signs[1]: state.second, "A": state.agent}
        )


def _flipped(state: State, params: Params) -> jax.Array:
    """[] bool, whether the second object pays at the next step."""
    return (params.lived + state.time) // params.flip_period % 2 == 1
