"""Every step of long random play against the rules written again in plain Python."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.two_colours import State, TwoColours
from metarl.nets.inputs import flat_size, flatten

SIZE, PERIOD, STEPS, STREAMS = 3, 50, 200, 40


def scan(env, params, key, steps):
    """States [T + 1], time steps [T] and actions [T] of one stream of random play."""

    def step(state, key):
        action_key, step_key = jax.random.split(key)
        action = jax.random.randint(action_key, (), 0, 4)
        after, ts = env.step(step_key, state, action, params)
        return after, (state, ts, action)

    start_key, *step_keys = jax.random.split(key, steps + 1)
    state, _ = env.reset(start_key, params)
    end, (states, ts, actions) = jax.lax.scan(step, state, jnp.stack(step_keys))
    return jax.tree.map(lambda xs, x: jnp.append(xs, x), states, end), ts, actions


@pytest.fixture(scope="module")
def env():
    return TwoColours(size=SIZE)


@pytest.fixture(scope="module")
def played(env):
    params = env.default_params().replace(flip_period=jnp.int32(PERIOD), lived=jnp.int32(30))
    keys = jax.random.split(jax.random.key(0), STREAMS)
    return jax.device_get(jax.jit(jax.vmap(lambda key: scan(env, params, key, STEPS)))(keys))


def state_of(*cells, time=0):
    agent, first, second = map(jnp.int32, cells)
    return State(agent, first, second, jnp.int32(time))


def moved(cell, action):
    row, column = cell // SIZE + (-1, 0, 1, 0)[action], cell % SIZE + (0, 1, 0, -1)[action]
    return SIZE * row + column if 0 <= row < SIZE and 0 <= column < SIZE else cell


def test_every_step_follows_the_rules(played):
    states, ts, actions = played
    for n in range(STREAMS):
        agent, objects = states.agent[n], np.stack([states.first[n], states.second[n]], axis=1)
        for t in range(STEPS):
            assert agent[t + 1] == moved(agent[t], actions[n, t])
            pays = (30 + t) // PERIOD % 2
            expected = -0.04
            for i in range(2):
                if agent[t + 1] == objects[t, i]:
                    expected = 1 if i == pays else -1
                    assert objects[t + 1, i] not in (agent[t + 1], objects[t + 1, 1 - i])
                else:
                    assert objects[t + 1, i] == objects[t, i]
            np.testing.assert_allclose(ts.reward[n, t], expected)
            here = [agent[t + 1], *objects[t + 1]]
            assert ts.obs[n, t].tolist() == [x for cell in here for x in divmod(cell, SIZE)]
    assert {round(float(r), 2) for r in ts.reward.ravel()} == {1.0, -1.0, -0.04}
    assert not ts.terminated.any() and not ts.truncated.any()


def test_a_touched_object_goes_to_every_free_cell_alike(played):
    states, _, _ = played
    places: Counter[int] = Counter()
    for moving, other in ((states.first, states.second), (states.second, states.first)):
        n, t = np.nonzero(moving[:, 1:] != moving[:, :-1])
        for agent, still, new in zip(
            states.agent[n, t + 1], other[n, t + 1], moving[n, t + 1], strict=True
        ):
            free = sorted(set(range(SIZE**2)) - {agent, still})
            places[free.index(new)] += 1
    total = places.total()
    assert total > 700 and len(places) == SIZE**2 - 2
    expected = total / (SIZE**2 - 2)
    assert max(abs(count - expected) for count in places.values()) < 4.5 * np.sqrt(expected)


def test_starts_are_uniform_over_distinct_cells(env):
    keys = jax.random.split(jax.random.key(1), 20_000)
    state, _ = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, env.default_params())
    triples = np.stack([state.agent, state.first, state.second], axis=1)
    counts = Counter(map(tuple, triples.tolist()))
    assert len(counts) == 9 * 8 * 7 and all(len(set(triple)) == 3 for triple in counts)
    expected = 20_000 / len(counts)
    statistic = sum((count - expected) ** 2 for count in counts.values()) / expected
    assert statistic < len(counts) + 5 * np.sqrt(2 * len(counts))  # chi-square


def test_agents_read_the_published_thirty_numbers():
    env = metarl.make("TwoColours-v0")
    space, params = env.observation_space, env.default_params()
    assert (flat_size(space), int(params.flip_period), int(params.max_steps)) == (
        30,
        100_000,
        2**31 - 1,
    )
    state = state_of(7, 0, 24, time=0)
    flat = flatten(space, env.observe(state, params)[0])
    assert flat.nonzero()[0].tolist() == [1, 5 + 2, 10, 15, 20 + 4, 25 + 4]


def test_episodes_terminate_at_the_horizon_and_show_the_time():
    env = metarl.make("TwoColoursEpisodic-v0")
    params = env.default_params().replace(lived=jnp.int32(6400))
    assert flat_size(env.observation_space) == 30 + 16 and int(params.flip_period) == 6400
    _, ts, _ = jax.jit(lambda key: scan(env, params, key, 18))(jax.random.key(0))
    assert ts.terminated.tolist() == [t >= 15 for t in range(18)] and not ts.truncated.any()
    assert ts.obs[:, 6].tolist() == [*range(1, 16), 15, 15, 15]
    on_second = state_of(5, 24, 6, time=0)
    for lived, reward in ((6399, -1), (6400, 1), (12_799, 1), (12_800, -1)):
        after = env.step(
            jax.random.key(0), on_second, jnp.int32(1), params.replace(lived=jnp.int32(lived))
        )[1]
        assert float(after.reward) == reward


def test_sampled_lives_start_anywhere_in_two_periods():
    env = metarl.make("TwoColoursEpisodic-v0")
    period = int(env.default_params().flip_period)
    keys = jax.random.split(jax.random.key(2), 300)
    lived = {}
    for split in ("train", "heldout"):
        params = jax.jit(jax.vmap(lambda key, split=split: env.sample_params(key, split)))(keys)
        lived[split] = np.asarray(params.lived)
        assert (lived[split] % 16 == 0).all()
        assert 0 <= lived[split].min() < period / 4 and 7 / 4 < lived[split].max() / period < 2
    assert not set(lived["train"].tolist()) & set(lived["heldout"].tolist())


def test_it_can_be_looked_at(env):
    params = env.default_params().replace(flip_period=jnp.int32(2))
    state = state_of(4, 0, 8, time=1)
    assert env.render_text(state, params) == "+..\n.A.\n..-"
    assert env.render_text(state.replace(time=jnp.int32(2)), params) == "-..\n.A.\n..+"
    picture = np.asarray(jax.jit(env.render)(state, params))
    assert picture.shape == (48, 48, 3) and picture[8, 8].tolist() == [214, 72, 66]


@pytest.mark.parametrize("wrong", [{"size": 1}, {"size": 256}, {"horizon": 0}])
def test_bad_fields_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        metarl.make("TwoColours-v0", **wrong)
