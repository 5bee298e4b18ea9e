"""Evaluation: whole first episodes, exact where the answer is known."""

import jax
import jax.numpy as jnp
import numpy as np

import metarl
from metarl.agents.uniform import uniform
from metarl.evaluate import evaluate, record


def play(env, episodes, **options):
    agent = uniform(env, {"logits": env.num_actions})
    return evaluate(
        agent, env, {}, env.default_params(), jax.random.key(0), episodes=episodes, **options
    )


def test_lengths_and_returns_of_the_random_policy():
    scores = play(metarl.make("ProbeDelay-v0", choices=4, length=3), 2000)
    assert (scores.length == 3).all() and scores.terminated.all() and scores.finished.all()
    # A right answer is a coin of probability 1/4; five standard errors.
    assert abs(float(scores.ret.mean()) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert set(np.unique(scores.ret)) == {0.0, 1.0}


def test_greedy_takes_the_likeliest_action():
    scores = play(metarl.make("ProbeAction-v0"), 500, greedy=True)  # always action 0
    again = play(metarl.make("ProbeAction-v0"), 500, greedy=True)
    np.testing.assert_array_equal(scores.ret, again.ret)
    assert 0.4 < scores.ret.mean() < 0.6


def test_episodes_without_an_end_are_cut_and_say_so():
    scores = play(metarl.make("ProbeDelay-v0", length=50), 3, max_steps=10)
    assert not scores.finished.any() and (scores.length == 10).all()


def test_recording_stops_at_the_end():
    env = metarl.make("ProbeDelay-v0", length=4)
    agent = uniform(env, {"logits": 2})
    states, steps = record(agent, env, {}, env.default_params(), jax.random.key(0), steps=7)
    assert steps == 4
    np.testing.assert_array_equal(states.time, jnp.array([0, 1, 2, 3, 4, 4, 4, 4]))
