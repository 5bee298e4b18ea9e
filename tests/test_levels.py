"""Level texts and packed tables: what is read, what is refused and why, and what comes back."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metarl.envs.levels.boxoban import load_levels, parse_levels
from metarl.envs.levels.shipped import default_levels
from metarl.envs.levels.table import BOX, PLAYER, SIGNS, TARGET, WALL, LevelTable, draw

ONE = "#####\n#@$.#\n#####"
TWO = "#####\n#.$@#\n#####"


def error_of(text):
    with pytest.raises(ValueError) as caught:
        parse_levels(text, "some.txt")
    return str(caught.value)


# Reading


def test_every_level_is_read_the_last_one_without_a_newline_too():
    table = parse_levels(f"; 0\n{ONE}\n\n; 1\n{TWO}")
    assert [table.text(i) for i in range(len(table))] == [ONE, TWO]
    assert parse_levels(f"{ONE}\n; next\n{TWO}\r\n\r\n").text(1) == TWO


def test_box_and_player_may_stand_on_targets():
    text = "######\n#+$* #\n######"
    board = parse_levels(text).boards()[0]
    assert draw(board) == text
    assert board[1].tolist() == [WALL, PLAYER | TARGET, BOX, BOX | TARGET, 0, WALL]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "some.txt: no level in it"),
        ("\n\n", "no level in it"),
        (f"; 0\n{ONE}\n\n; 1\n", "line 6: no level below '; 1'; cut short?"),
        (f"; 0\n; 1\n{ONE}", "line 1: no level below '; 0'"),
        (f"{ONE}\n\n{ONE}\n\n#####\n#@$.#", "level at line 9: 2 rows of 5 cells where most"),
        (f"{ONE}\n\n######\n#@ $.#\n######", "3 rows of 6 cells where most levels have 3 of 5"),
        (ONE.replace("@", "x"), "line 2: unknown sign 'x' in column 2"),
        (ONE.replace("@", "☃"), "line 2: unknown sign '☃' in column 2"),
        (f"{ONE}\n\n{ONE.replace('@', ' ')}", "level at line 5: no player"),
        ("######\n#@@$.#\n######", "2 players, expected one"),
        ("######\n#@ $ #\n######", "1 boxes and 0 targets"),
        ("######\n#@*. #\n######", "1 boxes and 2 targets"),
        ("######\n#@   #\n######", "no box"),
        ("######\n#@*  #\n######", "solved already"),
        ("######\n#@$. #\n##### ", "an open border"),
        ("######\n#@$.\n######", "line 2: a row of 4 cells in a level whose first row has 6"),
        ("##\n##", "fewer than 3 rows or columns"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(text, words):
    assert error_of(text).startswith("some.txt") and words in error_of(text)


def test_folders_are_read_in_order_and_all_or_nothing(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "0.txt").write_text(TWO)
    (tmp_path / "a.txt").write_text(ONE)
    (tmp_path / "LICENSE.txt").write_text("You may copy the levels.")
    table = load_levels(tmp_path)
    assert [table.text(i) for i in range(2)] == [ONE, TWO] and len(table) == 2
    table[1:].save(tmp_path / "saved.npz")
    both = load_levels([tmp_path / "saved.npz", tmp_path / "a.txt"])
    assert [both.text(i) for i in range(2)] == [TWO, ONE]
    (tmp_path / "b" / "1.txt").write_text(ONE.replace("@", " "))
    with pytest.raises(ValueError, match=r"1\.txt, level at line 1: no player"):
        load_levels(tmp_path)
    (tmp_path / "b" / "1.txt").write_text("######\n#@ $.#\n######")
    with pytest.raises(ValueError, match=r"3 rows of 6 cells, but .*a\.txt has 3 rows of 5 cells"):
        load_levels(tmp_path)


def test_missing_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        load_levels(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no .txt file"):
        load_levels(tmp_path)
    with pytest.raises(FileNotFoundError, match="no level file was named"):
        load_levels([])


# Reading what nobody meant to be read


@st.composite
def boards(draw_from):
    """[L, H, W] flags that obey the rules."""
    height, width = draw_from(st.integers(3, 6)), draw_from(st.integers(5, 19))
    inner = (height - 2) * (width - 2)
    stack = []
    for _ in range(draw_from(st.integers(1, 3))):
        order = draw_from(st.permutations(range(inner)))
        boxes = draw_from(st.integers(1, (inner - 1) // 2))
        walls = draw_from(st.integers(0, inner - 2 * boxes - 1))
        cells = np.zeros(inner, np.uint8)
        cells[order[:boxes]] |= BOX
        cells[order[1 : boxes + 1]] |= TARGET  # all but one box are on a target
        cells[order[boxes + draw_from(st.integers(0, 1))]] |= PLAYER
        cells[order[inner - walls :]] = WALL
        board = np.full((height, width), WALL, np.uint8)
        board[1:-1, 1:-1] = cells.reshape(height - 2, width - 2)
        stack.append(board)
    return np.stack(stack)


@given(boards())
@settings(max_examples=80, deadline=None)
def test_good_boards_survive_text_and_packing(stack):
    text = "\n\n".join(f"; {i}\n{draw(board)}" for i, board in enumerate(stack))
    assert (parse_levels(text).boards() == stack).all()
    assert (LevelTable.pack(stack).boards() == stack).all()


def parses_or_explains(text):
    """What is accepted reads back the same; what is not is a ValueError that names the text."""
    try:
        table = parse_levels(text, "name")
    except ValueError as error:
        assert str(error).startswith("name")
        return None
    again = parse_levels("\n\n".join(table.text(i) for i in range(len(table))))
    assert (again.boards() == table.boards()).all()
    assert table.boards().shape[0] == len(table) > 0
    return table


@given(st.text(alphabet="#@$.*+ ;\n\r0x", max_size=60) | st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_reader(text):
    parses_or_explains(text)


@given(boards(), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_edit_of_a_good_text_breaks_the_reader(stack, data):
    text = "\n\n".join(f"; {i}\n{draw(board)}" for i, board in enumerate(stack))
    at = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(("cut", "replace", "insert", "delete")))
    sign = data.draw(st.sampled_from([*SIGNS, "\n", ";", "?"]))
    rest = {"cut": "", "replace": sign + text[at + 1 :], "insert": sign + text[at:]}
    table = parses_or_explains(text[:at] + rest.get(kind, text[at + 1 :]))
    if kind == "cut" and table is not None:
        assert (table.boards() == stack[: len(table)]).all()  # cut between levels, or not at all


# Packing


def test_a_boxoban_sized_level_takes_17_bytes():
    table = default_levels(10, 10, 4, "heldout")
    arrays = (table.walls, table.targets, table.boxes, table.player)
    assert sum(array.nbytes for array in arrays) == 17 * len(table)


def test_tables_slice_join_and_survive_the_disk(tmp_path):
    some = default_levels(6, 6, 2, "heldout")[:5]
    more = parse_levels("######\n#@$. #\n#    #\n#    #\n#    #\n######")
    table = LevelTable.join([some, more])
    table.save(tmp_path / "table.npz")
    again = LevelTable.load(tmp_path / "table.npz")
    assert (again.boards() == table.boards()).all()
    assert (again.boards() == np.concatenate([some.boards(), more.boards()])).all()
    assert again[[5]].text(0) == more.text(0)
    assert len(again[2:4]) == 2 and again[2:4].text(1) == some.text(3)
    with pytest.raises(ValueError, match="one size"):
        LevelTable.join([some, parse_levels(ONE)])


def test_levels_are_turned_and_mirrored_every_way():
    """Eight ways of a square, four of another board, each cell where its coordinates say."""
    square = default_levels(6, 6, 2, "heldout")[:3]
    wide = parse_levels("######\n#@$. #\n#  # #\n######")
    for table, count in ((square, 8), (wide, 4)):
        boards, turned = table.boards(), table.turned().boards()
        height, width = boards.shape[1:]
        assert len(turned) == count * len(table) and (turned[: len(table)] == boards).all()
        for i, board in enumerate(boards):
            wanted = set()
            for up in (1, -1):
                for left in (1, -1):
                    seen = board[::up, ::left]
                    wanted.add(seen.tobytes())
                    if height == width:
                        swapped = [[seen[x, y] for x in range(width)] for y in range(height)]
                        wanted.add(np.array(swapped, np.uint8).tobytes())
            assert {way.tobytes() for way in turned[i :: len(table)]} == wanted


def test_large_boards_need_wider_cell_numbers():
    board = np.full((20, 30), WALL, np.uint8)
    board[18, 25:29] = 0, PLAYER, BOX, TARGET
    table = LevelTable.pack(board[None])
    assert table.boxes.dtype == np.uint16 and (table.boards()[0] == board).all()


def test_what_is_no_table_is_refused(tmp_path):
    path = tmp_path / "table.npz"
    table = parse_levels(ONE)
    table.save(path)
    good = path.read_bytes()
    for damaged in (b"", b"text", good[: len(good) // 2], good[:-200] + b"\0" * 200):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a level table"):
            LevelTable.load(path)
    np.savez(path, walls=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="is not a level table"):
        LevelTable.load(path)
    LevelTable(3, 5, table.walls, table.targets, table.targets, table.player).save(path)
    with pytest.raises(ValueError, match="level 0: solved already"):
        LevelTable.load(path)


@pytest.mark.parametrize("shape", [(3, 5), (0, 3, 5), (1, 2, 5)])
def test_only_stacks_of_boards_are_packed(shape):
    with pytest.raises(ValueError, match="boards must be"):
        LevelTable.pack(np.full(shape, WALL, np.uint8))


def test_two_things_in_one_cell_are_refused():
    board = parse_levels(ONE).boards()
    board[0, 1, 1] |= BOX
    with pytest.raises(ValueError, match="level 0: two things"):
        LevelTable.pack(board)


# Published levels, where the machine has them


@pytest.fixture(scope="module")
def boxoban():
    folder = Path(os.environ.get("METARL_DATA", "data")) / "boxoban"
    if not (folder / "hard").is_dir():
        pytest.skip("no Boxoban levels; name the folder that holds boxoban/ in METARL_DATA")
    return folder


def test_boxoban_levels_are_read_to_the_last(boxoban):
    hard = load_levels(boxoban / "hard")
    texts = [f.read_text().split(";")[1:] for f in sorted((boxoban / "hard").glob("*.txt"))]
    levels = ["\n".join(text.split("\n")[1:11]) for file in texts for text in file]
    assert [hard.text(i) for i in range(len(hard))] == levels
    assert {(b & BOX > 0).sum() for b in hard.boards()} == {4}
