"""Seaquest beside the authors' package: everything that is not drawn is equal, step for step."""

from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl
from metarl.envs.minatar.seaquest_slots import ENEMIES
from metarl.ops import keys

minatar = pytest.importorskip("minatar")

EPISODES, LENGTH = 300, 160
NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)
ENV = metarl.make("Seaquest-v0")


@pytest.fixture(scope="module")
def params():
    return ENV.default_params().replace(sticky=jnp.float32(0))


@pytest.fixture(scope="module")
def played():
    """A compiled function: states [E], keys and actions [E, T] to time steps and states [E, T]."""

    def play(state, chosen, actions, params):
        def step(state, x):
            state, ts = ENV.step(x[0], state, x[1], params)
            return state, (ts, state)

        return jax.lax.scan(step, state, (chosen, actions))[1]

    run = jax.jit(jax.vmap(play, in_axes=(0, 0, 0, None)))
    return lambda *args: jax.device_get(run(*args))


@pytest.fixture(scope="module")
def draws():
    """Keys [E, T], and what each draws: the word of the kind, and the byte of sides and rows."""
    many = jax.random.split(jax.random.key(0), (EPISODES, LENGTH))
    kind, word = jax.vmap(jax.vmap(partial(keys.words, count=2)))(many)
    return many, np.stack([kind, word & 255], axis=-1)


@pytest.fixture(scope="module")
def begun(params):
    """The state after a reset."""
    return jax.device_get(jax.jit(lambda key: ENV.reset(key, params)[0])(jax.random.key(0)))


class Scripted:
    """Stands for the reference's generator and hands out what our keys draw."""

    def __init__(self):
        self.values = []

    def rand(self):
        return self.values.pop(0)

    def randint(self, low, high):
        assert (low, high) == (1, 9)
        return self.values.pop(0)

    def load(self, game, kind, byte):
        """What a step may ask for: side, kind and row of an enemy, side and row of a diver."""
        enemy = [0.75 - byte % 2 / 2, kind / 2**32, 1 + byte // 2 % 8]
        diver = [0.75 - byte // 16 % 2 / 2, 1 + byte // 32]
        self.values = enemy * (game.e_spawn_timer == 0) + diver * (game.d_spawn_timer == 0)


def repeated(state):
    return jax.tree.map(lambda x: np.broadcast_to(x, (EPISODES, *np.shape(x))), state)


def setting(rng, state):
    """A start in both: theirs as attributes of their game, ours as a `state` changed."""
    ramps, crew = rng.choice([rng.integers(20), 19]), rng.choice([rng.integers(-2, 7), 6])
    air = rng.integers(0, 200)
    deep = bool(rng.random() < 0.4)
    x, y = int(rng.integers(1, 9)), int(rng.integers(1, 9)) * deep
    theirs = {
        "oxygen": int(air),
        "diver_count": int(crew),
        "sub_x": x,
        "sub_y": y,
        "surface": not deep,
        "e_spawn_speed": 20 - int(ramps),
        "move_speed": 5 - int(min(ramps // 2, 3)),
        "ramp_index": int(ramps),
    }
    ours = state.replace(
        oxygen=np.int32(air),
        crew=np.int32(crew),
        x=np.uint8(x),
        y=np.uint8(y),
        up=np.bool_(not deep),
        ramps=np.uint8(ramps),
    )
    return theirs, ours


def policy(rng, game, patience):
    """Stays at the surface for a while, then hunts divers and shoots; noisy."""
    if patience > 0:
        return (NOTHING, LEFT, RIGHT, FIRE)[rng.integers(4)]
    if rng.random() < 0.4:
        return int(rng.integers(6))
    enemies = [e for e in game.e_fish + game.e_subs if e[1] == game.sub_y]
    if enemies and rng.random() < 0.5:
        facing = enemies[0][0] > game.sub_x
        return FIRE if facing == game.sub_or else (RIGHT if facing else LEFT)
    if game.diver_count == 6 or game.oxygen < 30 or not game.divers:
        return UP
    x, y = game.divers[0][:2]
    return DOWN if y > game.sub_y else UP if y < game.sub_y else RIGHT if x > game.sub_x else LEFT


def episode(seed, words, state):
    """One episode of the reference: start, actions, what it showed, and counts of events."""
    rng = np.random.default_rng(seed)
    theirs = minatar.Environment("seaquest", sticky_action_prob=0.0)
    theirs.reset()
    game = theirs.env
    attributes, start = setting(rng, state)
    vars(game).update(attributes, random=Scripted())
    patience = (0, 0, 20, 80)[rng.integers(4)]
    actions, shown, rewards, ends, facts = [], [], [], [], Counter()
    for t in range(LENGTH):
        actions.append(policy(rng, game, patience - t))
        crew, subs = game.diver_count, list(game.e_subs)
        game.random.load(game, *(int(word) for word in words[t]))
        reward, end = theirs.act(actions[-1])
        assert not game.random.values
        shown.append(theirs.state().transpose(2, 0, 1))
        rewards.append(reward)
        ends.append(end)
        facts.update(
            cashed=crew == 6 and game.diver_count < 0,
            negative=crew < 0 and game.diver_count < crew,
            fetched=game.diver_count > crew,
            full=crew == 6 and bool(game.divers),
            sunk=any(sub not in game.e_subs for sub in subs) and reward == 1,
            flock=len(game.e_fish + game.e_subs) >= 20,
        )
        if end:
            break
    return start, actions, (np.array(shown), rewards, ends), facts


def test_every_step_is_the_same(params, begun, played, draws):
    many, words = draws
    episodes = [episode(i, words[i], begun) for i in range(EPISODES)]
    starts = jax.tree.map(lambda *x: np.stack(x), *(e[0] for e in episodes))
    actions = np.array([e[1] + [NOTHING] * (LENGTH - len(e[1])) for e in episodes], np.int32)
    ts, _ = played(starts, many, actions, params)
    facts, steps = Counter(), 0
    for i, (_, _, (shown, rewards, ends), seen) in enumerate(episodes):
        n = len(rewards)
        differs = (ts.obs[i, :n] != shown).any(axis=(1, 2, 3))
        assert not differs.any(), f"episode {i}, step {differs.argmax()}"
        np.testing.assert_array_equal(ts.reward[i, :n], rewards)
        np.testing.assert_array_equal(ts.terminated[i, :n], ends)
        facts.update(seen)
        steps += n
    assert steps > 10_000, steps
    assert min(facts.values()) > 30 and len(facts) == 6, facts


def test_the_reference_draws_as_often():
    """Ours are bits and a third of a word; theirs are counted."""
    theirs = minatar.Environment("seaquest", sticky_action_prob=0.0)
    theirs.seed(0)
    enemies = []
    for _ in range(3000):
        theirs.reset()
        theirs.env.e_spawn_timer = 0
        theirs.act(NOTHING)
        enemies += theirs.env.e_fish + theirs.env.e_subs
    assert len(enemies) == 3000
    armed = np.mean([len(enemy) == 5 for enemy in enemies])
    right = np.mean([enemy[2] for enemy in enemies])
    rows = np.bincount([enemy[1] for enemy in enemies], minlength=10)[1:9] / 3000
    assert abs(armed - 1 / 3) < 0.03 and abs(right - 1 / 2) < 0.03
    assert np.abs(rows - 1 / 8).max() < 0.02


def test_slots_suffice(params, begun, played, draws):
    """The most enemies there can be: all go one way, and the game becomes fast as it can."""
    many, words = draws
    starts = repeated(begun.replace(crew=np.int32(-1)))
    time = np.arange(LENGTH) - (np.arange(EPISODES) % 60)[:, None]
    actions = np.where((time < 0) | (time >= 38), NOTHING, np.where(time % 2, UP, DOWN))
    rightwards = np.flatnonzero(words[..., 1] % 2)
    chosen = many.ravel()[np.resize(rightwards, (EPISODES, LENGTH))]
    _, states = played(starts, chosen, actions.astype(np.int32), params)
    assert (states.ramps[:, -1] == 19).mean() > 0.9  # all but those that met a diver
    enemies = states.enemies
    taken = (enemies.x < 10) | (enemies.shot < 10)
    assert 25 <= (enemies.x < 10).sum(axis=-1).max() <= 30
    newest = states.enemy[:, 1:]
    came = newest != states.enemy[:, :-1]
    lost = np.take_along_axis(taken[:, :-1], newest[..., None].astype(int), axis=-1)[..., 0]
    assert came.any() and not (came & lost).any()
    assert taken.shape[-1] == ENEMIES


def test_sticky_actions_repeat_what_was_played(params, begun, played, draws):
    starts = repeated(begun.replace(last=np.uint8(LEFT)))
    actions = np.full((EPISODES, LENGTH), RIGHT, np.int32)
    _, states = played(starts, draws[0], actions, params.replace(sticky=jnp.float32(0.5)))
    assert abs(np.mean(states.last[:, 0] == LEFT) - 0.5) < 0.15
    played_left = np.cumprod(states.last == LEFT, axis=1)
    assert ((states.last == LEFT) == played_left).all()  # once another was played, that one sticks


def test_the_clock_cuts_off(params, begun, played, draws):
    actions = np.full((EPISODES, LENGTH), NOTHING, np.int32)
    ts, _ = played(repeated(begun), draws[0], actions, params.replace(max_steps=jnp.int32(2)))
    assert not ts.truncated[:, 0].any() and ts.truncated[:, 1].all()
    assert not (ts.truncated & ts.terminated).any()
