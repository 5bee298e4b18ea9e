"""The agent with a memory in every cell: streams are steps, shifts of a board shift its logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.agents.cellular import cellular
from metarl.inner import act, birth
from metarl.rollout import unroll, vectorize
from metarl.types import AgentInput, UpdateRule
from metarl.wrappers import trial

N, T = 2, 9


def idle(heads):
    return UpdateRule(heads, lambda key: (), lambda params: (), lambda *_: _)


@pytest.mark.parametrize("core", ["gru", "srwm/heads=1", "none"])
@pytest.mark.parametrize("name", ["TrialMinesweeper-v0", "Sokoban-v0"])
def test_a_stream_is_its_steps(core, name):
    small = (
        {"height": 4, "width": 3, "mines": 2}
        if "Mine" in name
        else {"height": 6, "width": 6, "boxes": 2}
    )
    env = trial(metarl.make(name, **small), 2)
    heads = {"logits": env.num_actions, "value": 1}
    agent = cellular(env, heads, core=core, width=4, layers=1, hidden=5)
    venv = vectorize(env, N)

    @jax.jit
    def both(params):
        learner = birth(agent, idle(heads), venv, params, jax.random.key(0))
        rollout = act(agent, venv, learner, jax.random.key(1), length=T)[0]
        rollout = rollout.replace(carry=jax.tree.map(lambda x: x + 0.3, rollout.carry))
        slow = agent._replace(unroll=None)
        run = lambda a: jax.vmap(lambda r: unroll(a, learner.params, r))(rollout)  # noqa: E731
        return run(agent), run(slow), rollout

    fast, steps, rollout = both(env.default_params())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), fast, steps)
    assert fast[0]["logits"].shape == (N, T, env.num_actions)
    mask = rollout.inputs.action_mask
    if mask is not None:
        assert (jax.nn.softmax(fast[0]["logits"]) * ~mask).max() == 0


def test_what_it_says_of_a_cell_depends_on_where_the_board_is_only_through_its_edges():
    env = metarl.make("Minesweeper-v0", height=7, width=7, mines=2)
    heads = {"logits": 49, "value": 1}
    agent = cellular(env, heads, width=4, layers=1)
    params = agent.init(jax.random.key(0))

    def logits(cell):
        planes = jnp.zeros((2, 7, 7), jnp.uint8).at[0, cell, cell].set(1).at[1, cell, cell].set(3)
        now = AgentInput(planes, jnp.int32(8 * cell), jnp.float32(1), jnp.bool_(False))
        return agent.apply(params, agent.carry(), now)[0]["logits"].reshape(7, 7)

    here, there = logits(2), logits(3)
    np.testing.assert_allclose(here[1:4, 1:4], there[2:5, 2:5], atol=1e-6)
    assert np.ptp(here) > 1e-4


def test_boards_without_planes_are_refused():
    with pytest.raises(ValueError, match="one part of planes"):
        cellular(metarl.make("CartPole-v0"), {"logits": 2})


def test_symmetric_layers_turn_and_mirror_with_the_board():
    env = metarl.make("Minesweeper-v0", height=5, width=5, mines=2)
    agent = cellular(env, {"logits": 25, "value": 1}, width=4, layers=2, symmetric=True)
    params = agent.init(jax.random.key(0))
    board = jax.random.randint(jax.random.key(1), (2, 5, 5), 0, 2, jnp.uint8)
    cells = jnp.arange(25).reshape(5, 5)

    def said(turn):
        action = jnp.argmax(turn(cells).ravel() == 7).astype(jnp.int32)
        now = AgentInput(jax.vmap(turn)(board), action, jnp.float32(1), jnp.bool_(False))
        heads = agent.apply(params, agent.carry(), now)[0]
        return heads["logits"].reshape(5, 5), heads["value"]

    logits, value = said(lambda x: x)
    assert np.ptp(logits) > 1e-4
    for turn in (jnp.rot90, jnp.fliplr, lambda x: x.T):
        turned, same = said(turn)
        np.testing.assert_allclose(turned, turn(logits), atol=1e-6)
        np.testing.assert_allclose(same, value, atol=1e-6)


def test_numbers_near_mines_are_told_apart():
    env = metarl.make("Minesweeper-v0", height=4, width=4, mines=2)
    agent = cellular(env, {"logits": 16, "value": 1}, width=3, layers=0)
    # One plane of yes and no, nine numbers, whether acted on, reward and first.
    assert agent.init(jax.random.key(0))["in"]["w"].shape == (1 + 9 + 3, 3)
    sokoban = metarl.make("Sokoban-v0", height=6, width=6, boxes=2)
    planes = sokoban.observation_space.shape[0]
    agent = cellular(sokoban, {"logits": 4, "value": 1}, width=3, layers=0)
    assert agent.init(jax.random.key(0))["in"]["w"].shape[0] == planes + 4 + 2
