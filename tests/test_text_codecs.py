"""Boards in words, exactly as published, and answers of any kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import metarl
from metarl.envs import sokoban
from metarl.envs.levels.boxoban import parse_levels
from metarl.text import GridCodec, MinesweeperCodec, SokobanCodec, codec_for
from metarl.text.answers import remark, tagged
from metarl.wrappers import frame_stack, wrap

KEY = jax.random.key(0)
MINES = metarl.make("Minesweeper-v0", height=3, width=4, mines=2, flood_fill=True)
CODECS = {
    "minesweeper": MinesweeperCodec(MINES),
    "sokoban": SokobanCodec(metarl.make("Sokoban-v0", height=6, width=6, boxes=2)),
    "moves": codec_for(metarl.make("GridWorld-v0", size=3)),
    "numbers": codec_for(metarl.make("Bandit-v0")),
    "wrapped": codec_for(wrap(MINES, frame_stack=2)),
}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def opened(*actions):
    """The state of a board with mines at (1, 4) and (3, 4) after some cells were opened."""
    mines = jnp.zeros((3, 4), bool).at[0, 3].set(True).at[2, 3].set(True).ravel()
    params = MINES.default_params().replace(mines=mines)
    state, _ = MINES.reset(KEY, params)
    for action in actions:
        state, _ = MINES.step(KEY, state, jnp.int32(action), params)
    return state, params


def test_minesweeper_is_shown_as_published():
    codec = CODECS["minesweeper"]
    assert codec.render(*opened()) == "Row 1: ? ? ? ?\nRow 2: ? ? ? ?\nRow 3: ? ? ? ?"
    assert codec.render(*opened(2)) == "Row 1: ? ? 1 ?\nRow 2: ? ? ? ?\nRow 3: ? ? ? ?"
    assert codec.render(*opened(0)) == "Row 1: . . 1 ?\nRow 2: . . 2 ?\nRow 3: . . 1 ?"
    assert codec.render(*opened(0, 11)) == "Row 1: . . 1 ?\nRow 2: . . 2 ?\nRow 3: . . 1 *"
    assert codec.render(*opened(7)) == "Row 1: ? ? ? ?\nRow 2: ? ? ? 2\nRow 3: ? ? ? ?"


def test_sokoban_is_shown_as_published():
    level = ["######", "#@ $.#", "# *  #", "# $  #", "#   .#", "######"]
    params = sokoban.Params.from_levels(parse_levels("\n".join(level)))
    env = metarl.make("Sokoban-v0", height=6, width=6, boxes=3)
    codec = SokobanCodec(env)
    state, _ = env.reset(KEY, params)
    assert codec.render(state, params) == (
        "0:######\n1:#P_XO#\n2:#_√__#\n3:#_X__#\n4:#___O#\n5:######"
    )
    actions, valid = codec.parse("<action>right, right, up, down</action>")
    assert valid and actions == (1, 1, 0)  # the first three
    for action in actions:
        state, _ = env.step(KEY, state, jnp.int32(action), params)
    assert codec.render(state, params) == (
        "0:######\n1:#__P√#\n2:#_√__#\n3:#_X__#\n4:#___O#\n5:######"
    )
    for action in (3, 2, 2):
        state, _ = env.step(KEY, state, jnp.int32(action), params)
    assert codec.render(state, params) == (
        "0:######\n1:#_P_√#\n2:#_√__#\n3:#_X__#\n4:#___O#\n5:######"
    )


def test_the_player_on_a_target_is_an_s():
    level = ["####", "#+$#", "#. #", "# $#", "####"]
    params = sokoban.Params.from_levels(parse_levels("\n".join(level)))
    env = metarl.make("Sokoban-v0", height=5, width=4, boxes=2)
    state, _ = env.reset(KEY, params)
    assert SokobanCodec(env).render(state, params) == "0:####\n1:#SX#\n2:#O_#\n3:#_X#\n4:####"


def test_hidden_targets_are_not_shown():
    """Nor that a box, or the player, stands on one."""
    params = sokoban.Params.from_levels(parse_levels("#####\n#+$ #\n#$*.#\n#####\n"))
    env = metarl.make("Sokoban-v0", height=4, width=5, boxes=3, hidden_targets=True)
    state, _ = env.reset(KEY, params)
    codec = SokobanCodec(env)
    assert codec.render(state, params) == "0:#####\n1:#PX_#\n2:#XX_#\n3:#####"
    assert "Targets are not shown" in codec.describe_task()


def test_other_grids_are_shown_as_they_are():
    env = metarl.make("GridWorld-v0", size=3)
    state, params = env.reset(KEY, env.default_params())[0], env.default_params()
    codec = codec_for(env)
    assert type(codec) is GridCodec and codec.render(state, params) == env.render_text(
        state, params
    )
    assert "up, right, down, left" in codec.describe_task()
    wrapped = frame_stack(MINES, 2)
    state, _ = wrapped.reset(KEY, MINES.default_params())
    assert codec_for(wrapped).render(state, MINES.default_params()).startswith("Row 1: ? ?")


@each_codec
def test_every_action_comes_back(codec):
    for action in range(codec.num_actions):
        assert codec.parse(f"So <action>{codec.word(action)}</action>.") == ((action,), True)
    assert codec.legal(None) == [codec.word(a) for a in range(codec.num_actions)]
    mask = np.arange(codec.num_actions) % 2 == 1
    assert codec.legal(mask) == codec.legal(None)[1::2]
    assert codec.parse(codec.form())[1]  # the example in the instructions is an answer


@pytest.mark.parametrize(
    "codec, answer, actions",
    [
        ("minesweeper", "<action>(2, 3)</action>", (6,)),
        ("minesweeper", "<ACTION>\n( 2,3 )\n</Action>", (6,)),
        ("minesweeper", "<action>(1, 1)</action> no, <action>(2, 1)</action>", (4,)),
        ("minesweeper", "in <action> tags: <action>(2, 1)</action>", (4,)),
        ("minesweeper", "<action>(9, 9), (3, 4)</action>", (11,)),
        ("minesweeper", "<action>(0, 1)</action>", ()),
        ("minesweeper", "<action>(3, 5)</action>", ()),
        ("minesweeper", "<action>2, 3</action>", ()),
        ("minesweeper", "(2, 3)", ()),
        ("minesweeper", "<action>(2, 3)", ()),
        ("minesweeper", "<action>(²,³)</action>", ()),
        ("minesweeper", "<action>(" + "9" * 5000 + ", 1)</action>", ()),
        ("sokoban", "<action>Up,LEFT , down,right</action>", (0, 3, 2)),
        ("sokoban", "<action>jump, left</action>", (3,)),
        ("sokoban", "<action>up left</action>", ()),
        ("sokoban", "<action></action>", ()),
        ("numbers", "<action>1</action>", (1,)),
        ("numbers", "<action>-1</action>", ()),
        ("numbers", "", ()),
    ],
)
def test_answers_are_read(codec, answer, actions):
    assert CODECS[codec].parse(answer) == (actions, bool(actions))


tags = st.sampled_from(["<action>", "</action>", "(1, 2)", "up", ",", "<remark>", "</remark>", "İ"])
answers = st.lists(st.one_of(st.text(st.characters(codec=None)), tags)).map("".join)


@settings(max_examples=300, deadline=None)
@given(answers)
@example("\ud800<action>\udfff</action>")
@example("</action><action>")
def test_no_answer_is_a_mistake_of_ours(text):
    for codec in CODECS.values():
        actions, valid = codec.parse(text)
        assert valid == bool(actions) and len(actions) <= codec.moves
        assert all(type(a) is int and 0 <= a < codec.num_actions for a in actions)
    lesson = remark(text)
    assert lesson is None or (0 < len(lesson) <= 2000 and lesson in text)


def test_long_answers_are_read_at_once():
    for text in ("<action>" * 200_000, "</action>" * 200_000, "<action>" + "(1," * 200_000):
        assert CODECS["minesweeper"].parse(text + "</action>") == ((), False)


def test_remarks_are_found_and_cut():
    assert remark("I lost. <remark> Open (1, 1). </remark>") == "Open (1, 1)."
    assert remark("<remark>a</remark> or <remark>b</remark>") == "b"
    assert remark("<remark>cut off in the mid") == "cut off in the mid"
    assert remark("nothing") is None and remark("<remark> </remark>") is None
    assert remark(f"<remark>{'x' * 3000}</remark>") == "x" * 2000
    assert tagged("a </remark> <remark>", "remark") is None


def test_what_cannot_be_played_in_words_is_refused():
    with pytest.raises(ValueError, match="no numbered actions"):
        codec_for(metarl.make("Pendulum-v0"))
    with pytest.raises(ValueError, match="no `render_text`"):
        codec_for(metarl.make("ProbeValue-v0"))
    with pytest.raises(ValueError, match="at least 1 move"):
        SokobanCodec(metarl.make("Sokoban-v0", height=6, width=6, boxes=2), moves=0)


@each_codec
def test_tasks_are_described(codec):
    task = codec.describe_task()
    assert len(task) > 100 and "{" not in task
