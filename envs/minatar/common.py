"""What MinAtar's five games share: actions, sticky actions, the clock and pictures.

Young & Tian 2019, https://arxiv.org/abs/1903.03176. Three things differ from the authors' package
in every game: by default only the actions that a game uses are offered; the action that may stick
is forgotten at a reset, where theirs leaks from one episode into the next; and an episode can be
cut off after `max_steps`, which truncates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import Colour, layered
from metarl.envs.spaces import Choices
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.types import TimeStep

SIZE = 10  # a side of the board
EVERY_ACTION = "nlurdf"  # nothing, left, up, right, down, fire: the package's own order


class Params(struct.PyTreeNode):
    """Dynamic settings of a game whose pace is constant."""

    max_steps: jax.Array  # [] int32, steps until truncation
    sticky: jax.Array  # [] float32, how likely the last action is played again instead


class RampingParams(Params):
    """Dynamic settings of a game that becomes faster."""

    ramping: jax.Array  # [] bool


@dataclass(frozen=True)
class Game(Choices):
    """A board of 10 by 10 cells, seen as planes.

    Actions are those of the game's minimal set, or, with `minimal=False`, all six of the package:
    nothing, left, up, right, down, fire; those without a use in the game do nothing. An action
    number out of range is clipped. A state has `last`, the action played last, and `time`.
    """

    minimal: bool = True

    keys_used: ClassVar[str]  # the minimal set, letters of EVERY_ACTION
    planes: ClassVar[dict[str, tuple[str, Colour]]]  # name -> sign and colour; later ones on top

    @property
    def letters(self) -> str:
        """One letter for each action number."""
        return self.keys_used if self.minimal else EVERY_ACTION

    @property
    def num_actions(self) -> int:
        """The size of the action set."""
        return len(self.letters)

    @property
    def observation_space(self) -> Box:
        """The game's planes, in the package's order but channels first."""
        return Box(0, 1, (len(self.planes), SIZE, SIZE), np.uint8)

    def pressed(self, action: jax.Array, letter: str) -> jax.Array:
        """[] bool, whether an action number means `letter`."""
        return action == self.letters.index(letter)

    def played(
        self, word: jax.Array, last: jax.Array, action: jax.Array, params: Params
    ) -> jax.Array:
        """[] uint8, the number of the action played: with probability `sticky` the last one.

        What is repeated is what was played, so an action can stick several times in a row.
        """
        sticks = (word >> 8).astype(jnp.float32) < params.sticky * 2**24
        chosen = jnp.clip(action, 0, self.num_actions - 1).astype(jnp.uint8)
        return jnp.where(sticks, last, chosen)

    def first(self, state: Any, params: Params) -> TimeStep:
        """The time step after a reset."""
        obs, _ = self.observe(state, params)
        return opening(obs)

    def timestep(
        self, state: Any, params: Params, reward: jax.Array, terminated: jax.Array
    ) -> TimeStep:
        """The time step of a state; the clock truncates unless the game has ended."""
        obs, _ = self.observe(state, params)
        return outcome(obs, reward.astype(jnp.float32), terminated, state.time >= params.max_steps)

    def observe(self, state: Any, params: Any) -> tuple[jax.Array, None]:
        """The planes; every action is legal."""
        raise NotImplementedError

    def render(self, state: Any, params: Any) -> jax.Array:
        """Sixteen pixels a cell, a colour for each plane."""
        planes, _ = self.observe(state, params)
        colours = np.array([colour for _, colour in self.planes.values()], np.uint8)
        return layered(planes, colours)

    def render_text(self, state: Any, params: Any) -> str:
        """One character a cell, the sign of the topmost plane; `.` where there is nothing."""
        planes, _ = self.observe(state, params)
        signs = np.full((SIZE, SIZE), ".")
        for plane, (sign, _) in zip(np.asarray(planes), self.planes.values(), strict=True):
            signs[plane > 0] = sign
        return "\n".join("".join(row) for row in signs)


@dataclass(frozen=True)
class RampingGame(Game):
    """A game that becomes faster."""

    def default_params(self) -> RampingParams:
        """The published setting: sticky actions, 0.1, and ramping; no time limit."""
        return RampingParams(jnp.int32(ENDLESS), jnp.float32(0.1), jnp.bool_(True))


def shown(flat: Sequence[jax.Array]) -> jax.Array:
    """[C, 10, 10] uint8 from planes [100] uint8, each of which was computed on its own.

    As the functions of `boards` do, or `metarl.ops.control.apart`: flat planes end to end are plain
    copies, and a batch of them is several times faster than any formula for all planes at once.
    """
    return jnp.concatenate(tuple(flat)).reshape(len(flat), SIZE, SIZE)
