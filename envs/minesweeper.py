"""Minesweeper: open every cell without a mine, by the numbers of mines around the open ones.

Rules of jumanji's Minesweeper-v0 (Bonnet et al. 2024, https://arxiv.org/abs/2306.09884), but an
action is one number, `row * width + column`, and the observation leaves out the number of mines and
of steps. Three fields add what players know from elsewhere: a first cell that is never a mine, the
opening of whole regions without numbers, and a first opening that is made for the player.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnasium.spaces import Box

from metarl.envs.drawing import tiled
from metarl.envs.minesweeper_tiles import tiles
from metarl.envs.spaces import Choices
from metarl.envs.splits import draw_level
from metarl.envs.steps import ENDLESS, opening, outcome
from metarl.ops import keys
from metarl.ops.control import rarely
from metarl.ops.sampling import any_of
from metarl.types import Key, TimeStep

_MINE = np.uint8(128)  # a bit of a cell; the others hold 0 for unknown, else the number plus 1
_FEW = 16  # mines that are drawn without a loop


class Params(struct.PyTreeNode):
    """Dynamic settings; a layout of mines makes a task."""

    mines: jax.Array  # [cells] bool, the same mines in every episode; none: drawn for each
    max_steps: jax.Array  # [] int32, steps until truncation
    safe_reward: jax.Array  # [] float32, for each cell opened without a mine
    click_reward: jax.Array  # [] float32, for an action that opens such cells, however many
    cascade_reward: jax.Array  # [] float32, on top where they are several
    solved_reward: jax.Array  # [] float32, on top where they are the last
    mine_reward: jax.Array  # [] float32, for opening a mine
    repeat_reward: jax.Array  # [] float32, for choosing an open cell
    repeat_ends: jax.Array  # [] bool, whether that ends the episode


class State(struct.PyTreeNode):
    """One episode in progress."""

    board: jax.Array  # [cells] uint8, the mine's bit, and the number shown plus 1
    left: jax.Array  # [] int32, cells without a mine that are unknown
    time: jax.Array  # [] int32


@dataclass(frozen=True)
class Minesweeper(Choices):
    """A board of `height` by `width` cells that hides mines; an action opens a cell.

    An open cell shows how many of its 8 neighbours have mines. Each cell opened gives 1; a mine
    gives 0 and ends the episode, as does choosing a cell that is open, and opening the last cell
    that has no mine. So the best return is the number of cells without mines; `params` can say
    otherwise. An action number out of range is clipped; the mask allows unknown cells.

    Mines lie uniformly, `mines` of them, unless `params.mines` says where. With `first_click_safe`
    a mine under the first cell moves to a uniform free one beforehand, so that mines are uniform
    over the other cells. With `flood_fill` a cell without mines around opens its neighbours too,
    and so on; each cell opened counts. With `free_opening` an episode starts after an action at a
    uniform cell without a mine, which pays nothing; it never opens all such cells.

    The observation is two planes, 1 where open and the number there: 2 bytes a cell, against 10 for
    a plane for each number, and what a convolution needs to sum over unknown neighbours.
    """

    height: int = 10
    width: int = 10
    mines: int = 10
    first_click_safe: bool = False
    flood_fill: bool = False
    free_opening: bool = False

    def __post_init__(self):
        if not (2 <= self.height <= 255 and 2 <= self.width <= 255):
            raise ValueError(f"height and width must lie in 2..255, got {self}")
        if not 1 <= self.mines < self.height * self.width:
            raise ValueError(f"there must be a mine and a cell without one, got {self}")
        if self.free_opening and (self.first_click_safe or self.mines + 1 == self.num_actions):
            raise ValueError(
                f"free_opening needs two cells without a mine and no first_click_safe, got {self}"
            )

    @property
    def num_actions(self) -> int:
        """One for each cell."""
        return self.height * self.width

    @property
    def observation_space(self) -> Box:
        """Planes open (0 or 1) and number (0 to 8, and 0 where unknown)."""
        high = np.array([1, 8], np.uint8)[:, None, None]
        shape = (2, self.height, self.width)
        return Box(np.zeros(shape, np.uint8), np.broadcast_to(high, shape), dtype=np.uint8)

    def default_params(self) -> Params:
        """The published setting: mines drawn for each episode, 1 for a cell, no time limit."""
        none, zero = jnp.zeros(self.num_actions, bool), jnp.float32(0)
        return Params(
            mines=none,
            max_steps=jnp.int32(ENDLESS),
            safe_reward=jnp.float32(1),
            click_reward=zero,
            cascade_reward=zero,
            solved_reward=zero,
            mine_reward=zero,
            repeat_reward=zero,
            repeat_ends=jnp.bool_(True),
        )

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A task with mines of its own, the same in every episode. The key is consumed."""
        return self.default_params().replace(mines=draw_level(self._lay, key, split))

    def mutate(self, key: Key, params: Params) -> Params:
        """Moves one mine to a free cell; drawn mines stay drawn. The key is consumed."""
        off_word, on_word = keys.words(key, 2)
        off, on = any_of(off_word, params.mines), any_of(on_word, ~params.mines)
        cell = jnp.arange(self.num_actions)
        moved = params.mines ^ (((cell == off) | (cell == on)) & params.mines.any())
        return params.replace(mines=moved)

    def reset(self, key: Key, params: Params) -> tuple[State, TimeStep]:
        """Lays the mines. The key is consumed."""
        mines_key, cell_key = keys.split(key) if self.free_opening else (key, key)
        mines = jnp.where(params.mines.any(), params.mines, self._lay(mines_key))
        left = self.num_actions - jnp.sum(mines, dtype=jnp.int32)
        board = jnp.where(mines, _MINE, np.uint8(0))
        if self.free_opening:
            board = self._begun(cell_key, board)
            left = left - _known(board)
        state = State(board, left, jnp.int32(0))
        obs, mask = self.observe(state, params)
        return state, opening(obs, mask).replace(info=self._info(state))

    def step(
        self, key: Key, state: State, action: jax.Array, params: Params
    ) -> tuple[State, TimeStep]:
        """Opens a cell. The key is used for a safe first click alone, and is consumed."""
        action = jnp.clip(action, 0, self.num_actions - 1)
        row, column = (x.astype(jnp.uint8) for x in (action // self.width, action % self.width))
        at = (self._rows == row) & (self._columns == column)
        board = self._made_safe(key, state, at) if self.first_click_safe else state.board
        cell = board.at[action].get(mode="promise_in_bounds")
        mine, repeat = cell >= _MINE, cell % _MINE > 0
        # Unsigned: true for the row or column before, itself, and the one after.
        near = ((self._rows + 1 - row) <= 2) & ((self._columns + 1 - column) <= 2)
        number = jnp.sum((board >> 7) * (near & ~at), dtype=jnp.uint8)
        opened = jnp.where(at & ~repeat, board | (number + 1), board)
        fresh = (~mine & ~repeat).astype(jnp.int32)
        if self.flood_fill:
            floods = (number == 0) & ~mine & ~repeat
            opened = rarely(floods, self._flooded, (opened, at), opened)
            fresh = jnp.where(floods, _known(opened) - _known(board), fresh)
        state = State(opened, state.left - fresh, state.time + 1)
        terminated = mine | (repeat & params.repeat_ends) | (state.left == 0)
        reward = self._reward(params, fresh, mine & ~repeat, repeat, state.left == 0)
        obs, mask = self.observe(state, params)
        ts = outcome(obs, reward, terminated, state.time >= params.max_steps, mask)
        return state, ts.replace(info=self._info(state))

    def observe(self, state: State, params: Params) -> tuple[jax.Array, jax.Array]:
        """The planes and the unknown cells."""
        del params
        code = state.board % _MINE
        known = jnp.minimum(code, 1)
        mask = code == 0
        obs = jnp.concatenate([known, code - known]).reshape(2, self.height, self.width)
        return obs, mask | ~mask.any()

    def render(self, state: State, params: Params) -> jax.Array:
        """Sixteen pixels a cell: unknown cells grey, numbers in colours, an open mine red."""
        del params
        return tiled(self._signs(state), tiles())

    def render_text(self, state: State, params: Params) -> str:
        """One character a cell: `#` unknown, `*` an open mine, else the number, `.` for 0."""
        del params
        signs = np.array(list("#.12345678*"))[np.asarray(self._signs(state))]
        return "\n".join("".join(row) for row in signs)

    def _signs(self, state: State) -> jax.Array:
        """[H, W] uint8: 0 unknown, 1 to 9 a number plus 1, 10 an open mine."""
        code = state.board % _MINE
        exploded = (code > 0) & (state.board >= _MINE)
        return jnp.where(exploded, np.uint8(10), code).reshape(self.height, self.width)

    def _reward(
        self,
        params: Params,
        fresh: jax.Array,
        mine: jax.Array,
        repeat: jax.Array,
        solved: jax.Array,
    ) -> jax.Array:
        """[] float32, of an action that opened `fresh` cells, or a mine, or one that was open."""
        reward = params.safe_reward * fresh + params.repeat_reward * repeat
        reward = reward + params.mine_reward * mine + params.click_reward * (fresh > 0)
        reward = reward + params.cascade_reward * (fresh > 1)
        return reward + params.solved_reward * (solved & (fresh > 0))

    def _begun(self, key: Key, board: jax.Array) -> jax.Array:
        """The board after an action at a uniform cell of those that leave something to do.

        Only a cell without a number can open all the rest, and then every such cell does: a cell
        with a number takes its place. The key is consumed.
        """
        word, other_word = keys.words(key, 2)
        numbers, free = self._around(board >> 7), board < _MINE
        cell = jnp.arange(self.num_actions)
        at, other = cell == any_of(word, free), cell == any_of(other_word, free & (numbers > 0))
        alone = lambda at: jnp.where(at, board | (numbers + 1), board)  # noqa: E731
        begun = self._flooded(board, at) if self.flood_fill else alone(at)
        over = _known(begun) == jnp.sum(free, dtype=jnp.int32)
        return jnp.where(over, alone(other), begun)

    def _info(self, state: State) -> dict[str, jax.Array]:
        return {"solved": state.left == 0}

    @property
    def _rows(self) -> np.ndarray:
        """[cells] uint8."""
        return np.repeat(np.arange(self.height, dtype=np.uint8), self.width)

    @property
    def _columns(self) -> np.ndarray:
        """[cells] uint8."""
        return np.tile(np.arange(self.width, dtype=np.uint8), self.height)

    def _lay(self, key: Key) -> jax.Array:
        """[cells] bool, `mines` uniform cells, by Floyd's algorithm. The key is consumed.

        The i-th of k mines among n cells is a uniform one of the first n - k + i, or, if that has
        one, the last of these. A word serves two mines: what is left of it after the first draw
        still has 32 bits less those of the cell's number.
        """
        cells, mines = self.num_actions, self.mines
        count = (mines + 1) // 2
        few = mines <= _FEW
        words = jnp.stack(keys.words(key, count)) if few else jax.random.bits(key, (count,))
        bounds = np.arange(cells - mines + 1, cells + 1, dtype=np.uint32)
        pairs = jnp.stack([words, words * jnp.asarray(bounds[::2])], axis=1)
        dtype = jnp.uint8 if cells <= 255 else jnp.uint16

        def lay(taken: jax.Array, x: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            i, word, bound = x
            cell = keys.below(word, bound).astype(dtype)
            cell = jnp.where((taken == cell).any(), (bound - 1).astype(dtype), cell)
            return jnp.where(np.arange(mines) == i, cell, taken), None

        steps = (jnp.arange(mines), pairs.ravel()[:mines], jnp.asarray(bounds))
        none = jnp.full(mines, np.iinfo(dtype).max, dtype)  # there are fewer cells than that
        chosen, _ = jax.lax.scan(lay, none, steps, unroll=_FEW)
        return (np.arange(cells, dtype=dtype) == chosen[:, None]).any(axis=0)

    def _made_safe(self, key: Key, state: State, at: jax.Array) -> jax.Array:
        """The board, with a mine `at` the first cell moved to a uniform free one."""

        def move(board: jax.Array, at: jax.Array, word: jax.Array) -> jax.Array:
            on = jnp.arange(self.num_actions) == any_of(word, board < _MINE)
            return board ^ jnp.where(at | on, _MINE, np.uint8(0))

        needed = (state.time == 0) & (at & (state.board >= _MINE)).any()
        return rarely(needed, move, (state.board, at, keys.words(key, 1)[0]), state.board)

    def _flooded(self, board: jax.Array, at: jax.Array) -> jax.Array:
        """The board with all cells open that are connected to `at` by cells without a number."""
        numbers = self._around(board >> 7)
        empty = (numbers == 0) & (board < _MINE)

        def grow(loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            reached, _ = loop
            more = reached | (self._around((reached & empty).astype(jnp.uint8)) > 0)
            return more, (more != reached).any()

        reached, _ = jax.lax.while_loop(lambda loop: loop[1], grow, (at, at.any()))
        unknown = board % _MINE == 0
        return jnp.where(reached & unknown, board | (numbers + 1), board)

    def _around(self, marks: jax.Array) -> jax.Array:
        """[cells] uint8, the sum of `marks` over each cell's neighbours."""
        padded = jnp.pad(marks.reshape(self.height, self.width), 1)
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]).ravel() - marks


def _known(board: jax.Array) -> jax.Array:
    """[] int32, how many cells are open."""
    return jnp.sum(board % _MINE > 0, dtype=jnp.int32)
