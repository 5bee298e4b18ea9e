"""Solves Sokoban levels on the host: fewest pushes by A*, fewest steps by breadth-first search.

Actions are numbered as in the environment: 0 up, 1 right, 2 down, 3 left.
"""

import heapq
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from metarl.envs.levels.bits import FAR, Level, PushBound, members, reach, shift, walk

Position = tuple[int, int]  # the boxes, and the lowest cell that the player can walk to
Push = tuple[int, int]  # where the box stands, as a set of one cell, and the action


def fewest_pushes(board: np.ndarray, max_positions: int = 500_000) -> np.ndarray | None:
    """A solution with as few pushes as possible, each reached by a shortest walk.

    Args:
      board: [H, W] uint8 flags of one level.
      max_positions: how many to look at before giving up.

    Returns:
      [T] int32 actions, or None where the level is proven to have no solution.

    Raises:
      RuntimeError: gave up, and nothing is proven.
    """
    level = Level.of(board)
    bound = PushBound(level.floor, level.targets, level.width)
    start = _position(level, level.boxes, level.player)
    came: dict[Position, tuple[Position, Push]] = {}
    pushes, closed, order = {start: 0}, set[Position](), itertools.count()
    queue = [(bound(level.boxes), next(order), start)]
    while queue and queue[0][0] < FAR:
        position = heapq.heappop(queue)[2]
        if position[0] == level.targets:
            return play(level, _trace(came, position))
        if position in closed:
            continue
        closed.add(position)
        if len(closed) > max_positions:
            raise RuntimeError(f"gave up after {max_positions} positions; raise max_positions")
        for cell, action in _pushes(level, *position, bound.alive):
            moved = position[0] ^ cell ^ shift(cell, level.moves[action])
            after = _position(level, moved, cell)
            if pushes[position] + 1 < pushes.get(after, FAR):
                pushes[after] = pushes[position] + 1
                came[after] = (position, (cell, action))
                heapq.heappush(queue, (pushes[after] + bound(moved), next(order), after))
    return None


def fewest_steps(board: np.ndarray, max_positions: int = 2_000_000) -> np.ndarray | None:
    """A solution with as few steps as possible: the best return the level allows.

    Far slower than `fewest_pushes` on large boards. One layer of the search holds, for every
    arrangement of the boxes, the set of cells where the player may stand.

    Args:
      board: [H, W] uint8 flags of one level.
      max_positions: how many arrangements, counted in each layer, to look at before giving up.

    Returns:
      [T] int32 actions, or None where the level is proven to have no solution.

    Raises:
      RuntimeError: gave up, and nothing is proven.
    """
    level = Level.of(board)
    alive = PushBound(level.floor, level.targets, level.width).alive
    layers, seen, looked = [{level.boxes: level.player}], {level.boxes: level.player}, 0
    while layers[-1] and level.targets not in layers[-1]:
        layer: dict[int, int] = {}
        for boxes, player in _steps(level, layers[-1], alive):
            new = player & ~seen.get(boxes, 0)
            if new:
                seen[boxes] = seen.get(boxes, 0) | new
                layer[boxes] = layer.get(boxes, 0) | new
        layers.append(layer)
        looked += len(layer)
        if looked > max_positions:
            raise RuntimeError(f"gave up after {max_positions} positions; raise max_positions")
    return _back(level, layers) if layers[-1] else None


def play(level: Level, pushes: Iterable[Push]) -> np.ndarray:
    """The actions of these pushes, a shortest walk before each.

    Raises:
      ValueError: the player cannot reach a box to push it.
    """
    boxes, player, actions = level.boxes, level.player, list[int]()
    for cell, action in pushes:
        move = level.moves[action]
        actions += walk(player, shift(cell, -move), level.floor & ~boxes, level.width) + [action]
        boxes, player = boxes ^ cell ^ shift(cell, move), cell
    return np.array(actions, np.int32)


def _trace(came: dict[Position, tuple[Position, Push]], position: Position) -> list[Push]:
    """The pushes that led to `position`."""
    pushes = []
    while position in came:
        position, push = came[position]
        pushes.append(push)
    return pushes[::-1]


def _position(level: Level, boxes: int, player: int) -> Position:
    area = reach(player, level.floor & ~boxes, level.width)
    return boxes, area & -area


def _pushes(level: Level, boxes: int, player: int, alive: int) -> Iterator[Push]:
    """The pushes open to a player who may walk anywhere first."""
    area = reach(player, level.floor & ~boxes, level.width)
    for action, move in enumerate(level.moves):
        pushable = boxes & shift(area, move) & shift(alive & ~boxes, -move)
        for cell in members(pushable):
            yield 1 << cell, action


def _steps(level: Level, layer: dict[int, int], alive: int) -> Iterator[tuple[int, int]]:
    """Where one step leads from a layer: arrangements of the boxes, and sets of player cells."""
    for boxes, players in layer.items():
        for move in level.moves:
            ahead = shift(players, move)
            yield boxes, ahead & level.floor & ~boxes
            for number in members(ahead & boxes & shift(alive & ~boxes, -move)):
                cell = 1 << number
                yield boxes ^ cell ^ shift(cell, move), cell


def _back(level: Level, layers: list[dict[int, int]]) -> np.ndarray:
    """The actions that lead through the layers to the solved position."""
    boxes, actions = level.targets, list[int]()
    player = layers[-1][boxes] & -layers[-1][boxes]
    for layer in reversed(layers[:-1]):
        for action, move in enumerate(level.moves):
            before, pushed = shift(player, -move), shift(player, move)
            pulled = boxes ^ pushed ^ player if boxes & pushed else boxes
            known = [b for b in {boxes, pulled} if layer.get(b, 0) & before]
            if known:
                boxes, player = known[0], before
                actions.append(action)
                break
    return np.array(actions[::-1], np.int32)
