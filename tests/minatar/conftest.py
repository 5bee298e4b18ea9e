"""The authors' package `minatar` and ours, step for step.

The package is played by random and by better players, and ours takes each step again, from the
package's own variables before it and with words that make it draw what the package drew. So every
step of it must be equal in all that both know; what ours draws by itself is tested elsewhere.
"""

from typing import Any, ClassVar, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.envs.minatar.asterix import Asterix
from metarl.envs.minatar.breakout import Breakout
from metarl.envs.minatar.freeway import Freeway
from metarl.envs.minatar.space_invaders import SpaceInvaders
from metarl.ops import keys

NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)  # the package's numbers
STEPS = 5000  # of each game
WORDS = 2**32


def lanes(numbers):
    """Eight numbers in a word, as `metarl.envs.minatar.lanes` has them."""
    return sum(int(number) << (4 * i) for i, number in enumerate(numbers))


def board(cells):
    """The four words of a [10, 10] array, as `metarl.envs.minatar.boards` has them."""
    bits = np.pad(np.asarray(cells, bool).ravel(), (0, 20)).reshape(4, 30)
    return tuple(bits @ (1 << np.arange(30)))


def word(number, bound):
    """A random word from which `keys.below` makes this number."""
    return int((number + 0.5) * WORDS / bound)


class Game:
    """How to translate a game, to play it better than at random, and to begin it late."""

    env: ClassVar[Any]

    def __init__(self, theirs):
        self.theirs: Any = theirs

    def known(self) -> dict[str, Any]:
        """The fields of our state but `last` and `time`."""
        raise NotImplementedError

    def player(self, random) -> int:
        """An action."""
        raise NotImplementedError

    def start_words(self) -> tuple[int, ...]:
        """The words that give what a reset has drawn."""
        return ()

    def drawn(self, before) -> tuple[int, ...]:
        """The words that give what a step has drawn."""
        return ()

    def late(self, episode):
        """Changes the package's variables after a reset."""


class OfBreakout(Game):
    env = Breakout(minimal=False)

    def known(self):
        game = self.theirs
        return {
            "paddle": game.pos,
            "x": game.ball_x,
            "y": game.ball_y,
            "dx": 1 if game.ball_dir in (1, 2) else -1,
            "dy": 1 if game.ball_dir >= 2 else -1,
            "trail": 10 * game.last_y + game.last_x,
            "bricks": game.brick_map[1:4].ravel().astype(int) @ (1 << np.arange(30)),
            "strike": game.strike,
        }

    def start_words(self):
        return (WORDS - 1 if self.theirs.ball_x else 0,)

    def player(self, random):
        """Goes where the ball goes, carelessly while it is far."""
        ahead = self.theirs.ball_x + (1 if self.theirs.ball_dir in (1, 2) else -1)
        if random.random() < 0.4 and self.theirs.ball_y < 6:
            return random.integers(6)
        return (NOTHING, RIGHT, LEFT)[int(np.sign(ahead - self.theirs.pos))]

    def late(self, episode):
        if episode % 2:
            self.theirs.brick_map[1:3] = 0
            self.theirs.brick_map[3, 1 + episode % 3 :] = 0


class OfAsterix(Game):
    env = Asterix(minimal=False)

    def __init__(self, theirs):
        super().__init__(theirs)
        self.spawned = None
        spawn = theirs._spawn_entity

        def watched():
            before = list(theirs.entities)
            spawn()
            now = enumerate(zip(before, theirs.entities, strict=True))
            self.spawned = [(i, *new[2:4]) for i, (old, new) in now if old is None and new]

        theirs._spawn_entity = watched

    def known(self):
        game = self.theirs
        crossing = [thing or (0, 0, False, False) for thing in game.entities]
        there = np.array([thing is not None for thing in game.entities])
        timers = ("spawn_speed", "spawn_timer", "move_speed", "move_timer", "ramp_timer")
        return {
            "x": game.player_x,
            "y": game.player_y,
            "columns": lanes(thing[0] for thing in crossing),
            "present": lanes(there),
            "right": lanes(thing[2] for thing in crossing),
            "gold": lanes(thing[3] for thing in crossing),
            **{name: getattr(game, name) for name in timers},
        }

    def drawn(self, before):
        spawned, self.spawned = self.spawned, None
        if not spawned:
            return WORDS - 1, WORDS // 2, WORDS // 3
        ((slot, right, gold),) = spawned
        empty = [i for i in range(8) if not before["present"] >> (4 * i) & 1]
        kind = right if gold else 2 + right
        return WORDS - 1, word(empty.index(slot), len(empty)), word(kind, 6)

    def player(self, random):
        """Leaves the row of an enemy that comes near, and goes where there is gold."""
        game = self.theirs
        things = [(i + 1, thing) for i, thing in enumerate(game.entities) if thing]
        near = {y for y, thing in things if not thing[3] and abs(thing[0] - game.player_x) < 3}
        moves = ((UP, -1), (NOTHING, 0), (DOWN, 1))
        safe = [action for action, dy in moves if np.clip(game.player_y + dy, 1, 8) not in near]
        gold = [y for y, thing in things if thing[3]]
        wish = (UP if gold[0] < game.player_y else DOWN) if gold else random.integers(6)
        return wish if wish in safe or not safe else random.choice(safe)

    def late(self, episode):
        game = self.theirs
        game.ramp_index = episode % 12
        game.spawn_speed = max(10 - game.ramp_index, 1)
        game.move_speed = max(5 - game.ramp_index // 2, 1)
        game.ramp_timer = episode % 5


class OfFreeway(Game):
    env = Freeway(minimal=False)

    def known(self):
        columns, _, timers, speeds = np.array(self.theirs.cars).T
        return {
            "row": self.theirs.pos,
            "rest": self.theirs.move_timer,
            "columns": lanes(columns),
            "timers": lanes(timers),
            "speeds": lanes(abs(speeds)),
            "right": lanes(speeds > 0),
        }

    def start_words(self):
        speeds = np.array(self.theirs.cars)[::-1, 3]  # the last lane is drawn first
        digits = abs(speeds) - 1 + 5 * (speeds > 0)
        return tuple(word(four @ 10 ** np.arange(4), 10**4) for four in digits.reshape(2, 4))

    def drawn(self, before):
        return WORDS - 1, *self.start_words()

    def player(self, random):
        return UP if random.random() < 0.9 else random.integers(6)


class OfSpaceInvaders(Game):
    env = SpaceInvaders(minimal=False)

    def known(self):
        game = self.theirs
        return {
            "cannon": game.pos,
            "aliens": board(game.alien_map),
            "right": game.alien_dir > 0,
            "friendly": board(game.f_bullet_map),
            "enemy": board(game.e_bullet_map),
            "cool_down": game.shot_timer,
            "interval": game.enemy_move_interval,
            "move_timer": game.alien_move_timer,
            "shot_timer": game.alien_shot_timer,
        }

    def player(self, random):
        """Fires whenever it can, follows the aliens and keeps away from bullets."""
        game = self.theirs
        danger = game.e_bullet_map[6:9].any(axis=0) | (game.alien_map[9] > 0)
        steps = ((NOTHING, 0), (LEFT, -1), (RIGHT, 1))
        moves = [a for a, dx in steps if not danger[np.clip(game.pos + dx, 0, 9)]]
        if game.shot_timer == 0 and NOTHING in moves and random.random() < 0.9:
            return FIRE
        columns = np.flatnonzero(game.alien_map.any(axis=0))
        target = columns[abs(columns - game.pos).argmin()] + game.alien_dir
        wish = (NOTHING, RIGHT, LEFT)[int(np.sign(target - game.pos))]
        return wish if wish in moves or not moves else random.choice(moves)

    def late(self, episode):
        self.theirs.enemy_move_interval = 6 + episode % 7
        if episode % 2:
            self.theirs.alien_map[:] = np.roll(self.theirs.alien_map, episode % 6, axis=0)
            self.theirs.alien_map[:, 3 : 3 + episode % 5] = 0


GAMES = {
    "breakout": OfBreakout,
    "asterix": OfAsterix,
    "freeway": OfFreeway,
    "space_invaders": OfSpaceInvaders,
}


class Both(NamedTuple):
    """Starts or steps of both games, [N]."""

    name: str
    before: Any  # states that both step from; None for starts
    action: np.ndarray
    reward: np.ndarray  # theirs
    end: np.ndarray
    obs: np.ndarray  # [N, C, 10, 10]
    theirs: Any  # the state after, as ours would say it
    ours: Any
    ts: Any


def record(name, seed):
    """Starts and steps of the package as dicts, and our environment.

    One episode in four is played at random, every second one begins in a late situation.
    """
    minatar = pytest.importorskip("minatar", reason="minatar, a test extra, is not installed")
    env = minatar.Environment(name, sticky_action_prob=0.0)
    env.seed(seed)
    game, random = GAMES[name](env.env), np.random.default_rng(seed)
    starts: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    while len(steps) < STEPS:
        env.reset()
        nothing = {"action": 0, "reward": 0.0, "end": False, "time": 0, "ramping": True}
        now = {"after": game.known(), "obs": env.state(), "words": game.start_words()}
        starts.append({**nothing, **now})
        episode, end, time = len(starts), False, 0
        env.env.ramping = episode % 5 > 0
        if episode % 2:
            game.late(episode // 2)
        while not end and len(steps) < STEPS:
            before = game.known()
            action = int(game.player(random) if episode % 4 else random.integers(6))
            reward, end = env.act(action)
            row = {"before": before, "action": action, "reward": reward, "end": end, "time": time}
            now = {"after": game.known(), "obs": env.state(), "words": game.drawn(before)}
            steps.append({**row, **now, "ramping": env.env.ramping})
            time += 1
    return starts, steps, game.env


def column(rows, name):
    return np.array([row[name] for row in rows])


def words(rows):
    """[N, 3] uint32, for calls that draw fewer with zeros at the end."""
    return np.array([(*row["words"], 0, 0, 0)[:3] for row in rows], np.uint32)


def states(rows, which, like, *, time, last):
    """Our states of the package's variables, [N]."""
    known = jax.tree.map(lambda *leaves: np.array(leaves), *(row[which] for row in rows))
    known |= {"last": last, "time": time}
    flat = jax.tree.leaves([known[name] for name in like.__dataclass_fields__])
    pairs = zip(flat, jax.tree.leaves(like), strict=True)
    return jax.tree.unflatten(jax.tree.structure(like), [x.astype(y.dtype) for x, y in pairs])


def drawing(words, function, *args):
    """`function(*args)` whose random words are these, [K] uint32."""
    with mock.patch.object(keys, "words", lambda key, count: words[:count]):
        return function(*args)


def both(name, rows, before, theirs, out):
    action, reward, end = (column(rows, field) for field in ("action", "reward", "end"))
    obs, (ours, ts) = np.moveaxis(column(rows, "obs"), -1, 1), jax.device_get(out)
    return Both(name, before, action, reward, end, obs, theirs, ours, ts)


@pytest.fixture(scope="module", params=GAMES)
def played(request) -> tuple[Both, Both]:
    """The same starts and the same steps of both games."""
    starts, steps, env = record(request.param, 0)
    params = env.default_params().replace(sticky=jnp.float32(0))
    key = jax.random.key(0)

    def reset(words):
        return drawing(words, env.reset, key, params)

    def step(words, state, action, ramping):
        mine = params.replace(ramping=ramping) if hasattr(params, "ramping") else params
        return drawing(words, env.step, key, state, action, mine)

    first = jax.jit(jax.vmap(reset))(words(starts))
    like, zeros = first[0], np.zeros(len(starts))
    time, action = column(steps, "time"), column(steps, "action")
    before = states(steps, "before", like, time=time, last=0 * time)
    after = jax.jit(jax.vmap(step))(words(steps), before, action, column(steps, "ramping"))
    started = states(starts, "after", like, time=zeros, last=zeros)
    went = states(steps, "after", like, time=time + 1, last=action)
    name = request.param
    return both(name, starts, None, started, first), both(name, steps, before, went, after)
