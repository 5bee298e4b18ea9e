"""The generator and the solvers against the game played once more, on sets of cells."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from metarl.envs.levels.bits import Level
from metarl.envs.levels.boxoban import load_levels, parse_levels
from metarl.envs.levels.generate import LevelSpec, generate, room_split, solved_levels
from metarl.envs.levels.shipped import COUNTS, SHIPPED, default_levels
from metarl.envs.levels.solve import fewest_pushes, fewest_steps
from metarl.envs.levels.table import BOX, PLAYER, TARGET, WALL

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
SMALL = LevelSpec(6, 6, 2, max_steps=60)


def plain_step(player, boxes, walls, action):
    """The rules once more, on sets of (row, column)."""
    near = (player[0] + MOVES[action][0], player[1] + MOVES[action][1])
    far = (near[0] + MOVES[action][0], near[1] + MOVES[action][1])
    if near in walls or (near in boxes and (far in walls or far in boxes)):
        return player, boxes
    return near, frozenset(far if box == near else box for box in boxes)


def plain_level(board):
    def where(bit):
        return frozenset((int(r), int(c)) for r, c in np.argwhere(board & bit))

    return next(iter(where(PLAYER))), where(BOX), where(WALL), where(TARGET)


def plain_play(board, actions):
    """Whether the actions solve the board, and not before the last; and how many push."""
    player, boxes, walls, targets = plain_level(board)
    pushes = 0
    for action in actions:
        assert boxes != targets
        player, moved = plain_step(player, boxes, walls, action)
        pushes += moved != boxes
        boxes = moved
    return boxes == targets, pushes


def plain_shortest(board):
    """The length of a shortest solution, or None, by searching every position."""
    player, boxes, walls, targets = plain_level(board)
    edge, seen, steps = {(player, boxes)}, {(player, boxes)}, 0
    while edge:
        if any(boxes == targets for _, boxes in edge):
            return steps
        after = {plain_step(p, b, walls, a) for p, b in edge for a in range(4)}
        edge, steps = after - seen, steps + 1
        seen |= edge
    return None


# Solving


@pytest.fixture(scope="module")
def small_levels():
    return list(islice(solved_levels(3, SMALL), 25))


def test_solutions_are_as_short_as_any(small_levels):
    for board, _ in small_levels:
        steps = fewest_steps(board)
        assert steps is not None and plain_play(board, steps)[0]
        assert len(steps) == plain_shortest(board)


def test_no_solution_has_fewer_pushes(small_levels):
    for board, made in small_levels:
        solved, pushes = plain_play(board, fewest_pushes(board))
        others = [plain_play(board, made)[1], plain_play(board, fewest_steps(board))[1]]
        assert solved and pushes <= min(others)
        assert pushes >= SMALL.pushes  # so the generator's lower bound is one


@pytest.mark.parametrize(
    "text",
    [
        "######\n#$ @.#\n######",  # the box stands in a corner
        "#######\n#@ $$ #\n# .. ##\n#######",  # two boxes along a wall, targets off it
        "########\n#@#$. ##\n########",  # the player cannot reach the box
    ],
)
def test_impossible_levels_are_proven_so(text):
    board = parse_levels(text).boards()[0]
    assert plain_shortest(board) is None
    assert fewest_pushes(board) is None and fewest_steps(board) is None


def test_giving_up_is_not_proving():
    board = default_levels(10, 10, 4, "heldout").boards()[0]
    for solve in (fewest_pushes, fewest_steps):
        with pytest.raises(RuntimeError, match="gave up after 2 positions"):
            solve(board, 2)


# Generating


@pytest.mark.parametrize("spec", [LevelSpec(), SMALL, LevelSpec(5, 8, 1), LevelSpec(9, 7, 3)])
def test_made_levels_are_solved_by_their_solutions(spec):
    seen = set()
    for board, actions in islice(solved_levels(1, spec), 20):
        assert board.shape == (spec.height, spec.width)
        assert (board & BOX > 0).sum() == (board & TARGET > 0).sum() == spec.boxes
        assert not (board & (BOX | TARGET) == BOX | TARGET).any()
        solved, pushes = plain_play(board, actions)
        assert solved and len(actions) <= spec.max_steps and pushes >= spec.pushes
        seen.add(board.tobytes())
    assert len(seen) == 20


def test_made_levels_are_solved_by_search():
    for board in generate(10, 5).boards():
        assert plain_play(board, fewest_pushes(board))[0]


def test_levels_follow_from_the_seed():
    few, more, other = (generate(n, seed, SMALL).boards() for n, seed in ((4, 7), (9, 7), (4, 8)))
    assert (more[:4] == few).all() and (few != other).any()


def rooms(table):
    return [Level.of(board).floor for board in table.boards()]


def test_splits_share_no_room_however_it_is_turned():
    names: dict[bytes, set[str]] = {}
    for split in ("train", "heldout"):
        table = generate(30, 2, LevelSpec(6, 6, 2, split=split))
        for board in table.boards():
            free = (board & WALL) == 0
            for view in (np.rot90(v, k) for v in (free, free.T) for k in range(4)):
                names.setdefault(view.tobytes(), set()).add(split)
                floor = sum(1 << int(cell) for cell in np.flatnonzero(view))
                assert room_split(floor, 6, 6) == split
    assert all(len(splits) == 1 for splits in names.values())


@pytest.mark.parametrize("spec", SHIPPED, ids=str)
def test_shipped_tables_are_what_the_generator_makes(spec):
    for split, count in COUNTS.items():
        table = default_levels(spec.height, spec.width, spec.boxes, split)
        made = LevelSpec(spec.height, spec.width, spec.boxes, None, spec.max_steps, split)
        assert len(table) == count == len({board.tobytes() for board in table.boards()})
        assert (table[:3].boards() == generate(3, 0, made).boards()).all()
        assert {room_split(r, spec.height, spec.width) for r in rooms(table[::25])} == {split}


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="gave no new level"):
        generate(1, 0, LevelSpec(4, 4, 2))
    with pytest.raises(ValueError, match=r"split must be one of \('train', 'heldout'\)"):
        LevelSpec(split="test")
    with pytest.raises(ValueError, match="3 by 3"):
        LevelSpec(2, 9)
    with pytest.raises(ValueError, match="count must be"):
        generate(0, 0)


def test_published_levels_are_solved():
    file = Path(os.environ.get("METARL_DATA", "data")) / "boxoban/unfiltered/test/000.txt"
    if not file.exists():
        pytest.skip("no Boxoban levels; name the folder that holds boxoban/ in METARL_DATA")
    for board in load_levels(file).boards()[:10]:
        assert plain_play(board, fewest_pushes(board))[0]
