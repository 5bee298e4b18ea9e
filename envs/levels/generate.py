"""Makes Sokoban levels that are solvable by construction, without end and from a seed.

A room is carved at random, the boxes are put on the targets, and the game is played backwards: the
player pulls. Played forwards again the pulls are a solution, whose length is known. A lower bound
on the pushes keeps trivial levels out.
"""

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from metarl.envs.levels.bits import Level, PushBound, members, moves, reach, shift, union
from metarl.envs.levels.solve import Position, Push, play
from metarl.envs.levels.table import BOX, PLAYER, TARGET, WALL, LevelTable
from metarl.envs.splits import SPLITS, check_split

_TRIES = 5000  # rooms without success after which the spec is called impossible


@dataclass(frozen=True)
class LevelSpec:
    """What levels should be like.

    A room belongs to `heldout` or to `train` by its walls alone, whichever way it is turned or
    mirrored, so tables of the two splits share no room, whatever their seeds and numbers.
    """

    height: int = 10
    width: int = 10
    boxes: int = 4
    min_pushes: int | None = None  # no solution has fewer; None: two a box
    max_steps: int = 120  # the known solution has no more
    split: str | None = None  # "train", "heldout" (a tenth of all rooms), or None: both

    def __post_init__(self):
        check_split(self.split)
        if min(self.height, self.width) < 3 or self.boxes < 1:
            raise ValueError(f"levels need 3 by 3 cells and one box at least, got {self}")

    @property
    def pushes(self) -> int:
        """The least number of pushes, the default filled in."""
        return 2 * self.boxes if self.min_pushes is None else self.min_pushes


def generate(count: int, seed: int, spec: LevelSpec = LevelSpec()) -> LevelTable:
    """`count` different levels; more of the same seed start with the same ones.

    Raises:
      ValueError: `count` is not positive, or the spec cannot be met.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return LevelTable.pack(
        np.stack([board for board, _ in islice(solved_levels(seed, spec), count)])
    )


def solved_levels(
    seed: int, spec: LevelSpec = LevelSpec()
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Different levels without end: a board [H, W] of flags, and the actions [T] that solve it.

    Raises:
      ValueError: the spec cannot be met, or no more than so many times.
    """
    rng = random.Random(seed)
    seen: set[bytes] = set()
    failures = 0
    while failures < _TRIES:
        failures += 1
        floor = _room(rng, spec)
        if spec.split not in (None, room_split(floor, spec.height, spec.width)):
            continue
        made = _backwards(rng, floor, spec)
        if made is None:
            continue
        board, actions = _board(made[0], spec), play(*made)
        if len(actions) <= spec.max_steps and board.tobytes() not in seen:
            seen.add(board.tobytes())
            failures = 0
            yield board, actions
    raise ValueError(
        f"{_TRIES} rooms in a row gave no new level for {spec} after {len(seen)} levels; "
        "ask for a larger board, fewer boxes, fewer pushes, more steps or fewer levels"
    )


def room_split(floor: int, height: int, width: int) -> str:
    """The split a room belongs to; the eight ways to turn and mirror it agree."""
    room = np.zeros(height * width, np.uint8)
    room[list(members(floor))] = 1
    turned = [np.rot90(room.reshape(height, width), k) for k in range(4)]
    views = [np.ascontiguousarray(v) for view in turned for v in (view, view.T)]
    name = min(bytes(view.shape) + view.tobytes() for view in views)
    return SPLITS[zlib.crc32(name) % 10 == 0]


def _room(rng: random.Random, spec: LevelSpec) -> int:
    """The floor of a random room: a winding cave, or a hall with pillars."""
    rows, columns = range(1, spec.height - 1), range(1, spec.width - 1)
    inner = [row * spec.width + column for row in rows for column in columns]
    size = max(int(len(inner) * rng.uniform(0.35, 0.8)), 2 * spec.boxes + 3)
    make = _cave if rng.random() < 0.6 else _hall
    return make(rng, inner, min(size, len(inner)), spec.width)


def _cave(rng: random.Random, inner: list[int], size: int, width: int) -> int:
    """A walk that carves blocks of one or two cells a side and tends to keep its direction."""
    inside = union(inner)
    spot = 1 << rng.choice(inner)
    floor, move = spot, rng.choice(moves(width))
    while floor.bit_count() < size:
        if rng.random() < 0.35:
            move = rng.choice(moves(width))
        if shift(spot, move) & inside:
            spot = shift(spot, move)
        else:
            move = rng.choice(moves(width))
        block = spot
        if rng.random() < 0.4:
            block |= shift(spot, rng.choice(moves(width)))
        floor |= block & inside
    return floor


def _hall(rng: random.Random, inner: list[int], size: int, width: int) -> int:
    """The largest region that is left when random cells are walled up."""
    free = union(rng.sample(inner, size))
    regions = []
    while free:
        regions.append(reach(free & -free, free, width))
        free &= ~regions[-1]
    return max(regions, key=lambda region: region.bit_count())


def _backwards(rng: random.Random, floor: int, spec: LevelSpec) -> tuple[Level, list[Push]] | None:
    """Plays from the solved position backwards: a start and its solution.

    It stops at the first position far enough from solved; how far is drawn, so easy levels and
    hard ones occur. A position seen before cuts the loop out of the solution.
    """
    cells, width = list(members(floor)), spec.width
    if len(cells) <= 2 * spec.boxes:
        return None
    targets = union(rng.sample(cells, spec.boxes))
    boxes, player = targets, 1 << rng.choice(list(members(floor & ~targets)))
    bound = PushBound(floor, targets, width)
    wanted = spec.pushes + rng.randint(0, 4 * spec.boxes)
    pushes: list[Push] = []  # the solution, last push first
    best, most = None, spec.pushes - 1
    seen: dict[Position, int] = {}  # how many pulls led there
    for _ in range(30 * spec.boxes):
        free = floor & ~boxes
        area = reach(player, free, width)
        since = seen.setdefault((boxes, area & -area), len(pushes))
        if since < len(pushes):
            del pushes[since:]
            seen = {position: count for position, count in seen.items() if count <= since}
        if not boxes & targets and bound(boxes) > most:
            start = 1 << rng.choice(list(members(area)))
            best = Level(width, floor, targets, boxes, start), pushes[::-1]
            most = bound(boxes)
        pulls = _pulls(boxes, area, free, width)
        if most >= wanted or not pulls:
            break
        cell, action = _choose(rng, pulls, pushes[-1:], width)
        boxes ^= cell | shift(cell, moves(width)[action])
        player = shift(cell, -moves(width)[action])
        pushes.append((cell, action))
    return best


def _pulls(boxes: int, area: int, free: int, width: int) -> list[Push]:
    """The pushes that could have led here: where each box then stood, and the action."""
    return [
        (1 << cell, action)
        for action, move in enumerate(moves(width))
        for cell in members(area & shift(boxes, -move) & shift(free, move))
    ]


def _choose(rng: random.Random, pulls: list[Push], last: list[Push], width: int) -> Push:
    """A random pull, often of the box pulled last and in the same direction."""
    onward = [(shift(cell, -moves(width)[action]), action) for cell, action in last]
    if onward and onward[0] in pulls and rng.random() < 0.6:
        return onward[0]
    return rng.choice(pulls)


def _board(level: Level, spec: LevelSpec) -> np.ndarray:
    """[H, W] uint8 flags."""
    cells = np.full(spec.height * spec.width, WALL, np.uint8)
    cells[list(members(level.floor))] = 0
    for flag, where in ((TARGET, level.targets), (BOX, level.boxes), (PLAYER, level.player)):
        cells[list(members(where))] |= flag
    return cells.reshape(spec.height, spec.width)
