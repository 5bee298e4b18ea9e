"""Films at the end of evaluations: what the agent did, once, and at no cost to any score."""

import os
from typing import Any

import jax
import numpy as np
import pytest
from PIL.GifImagePlugin import GifImageFile

import metarl
from metarl import cells, filming, host
from metarl.agents.uniform import uniform
from metarl.evaluation import evaluate_rule
from metarl.host import score
from metarl.io.films import film_path
from metarl.io.video import comment_of, enlarge
from metarl.ops.distributions import policy
from metarl.rollout import first_inputs, successor

ENV = "DelayedChain-v0"
SIZES: Any = {"seeds": (3, 4), "budget": 1280, "points": 1, "episodes": 4}
RULE = "reinforce learning_rate=0.1"


@pytest.fixture(scope="module", autouse=True)
def quick(compile_once):
    """Compiled programmes are shared."""


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A folder with a film, the results, and the parts and learners that were filmed."""
    folder, seen = tmp_path_factory.mktemp("filmed"), []
    film = filming.Camera._film

    def noted(camera, learners):
        seen.append((camera._cell.parts, learners))
        film(camera, learners)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filming.Camera, "_film", noted)
        results = evaluate_rule(RULE, [ENV], folder=folder, films=True, **SIZES)
    (one,) = seen
    return folder, results, *one


def by_hand(parts, learners):
    """Pictures of an episode of the first learner, step by step."""
    params, env_params = jax.tree.map(lambda x: x[0], (learners.params, learners.env_params))
    key = jax.random.fold_in(jax.random.key(3), filming._FILM)
    reset_key, play_key = jax.random.split(key)
    step, render = jax.jit(parts.env.step), jax.jit(parts.env.render)
    state, ts = parts.env.reset(reset_key, env_params)
    inputs, carry = first_inputs(parts.env, ts), parts.agent.carry()
    yield render(state, env_params)
    for key in jax.random.split(play_key, filming.STEPS):
        act_key, step_key = jax.random.split(key)
        heads, carry = parts.agent.apply(params, carry, inputs)
        action = policy(heads).sample(act_key)
        state, ts = step(step_key, state, action, env_params)
        yield render(state, env_params)
        if ts.last:
            return
        inputs = successor(ts, action)


def test_the_film_shows_the_first_seeds_agent(filmed):
    folder, _, parts, learners = filmed
    wanted = enlarge(np.stack([*by_hand(parts, learners)]), filming.SIDE)
    shown = []
    with GifImageFile(film_path(folder, ENV)) as image:
        for i in range(image.n_frames):
            image.seek(i)
            shown += [np.asarray(image.convert("RGB"))] * round(image.info["duration"] / 50)
    shown = shown[: len(wanted)]  # equal frames are one of longer duration, and the last one stays
    np.testing.assert_array_equal(shown, wanted)


def test_scores_are_those_of_an_evaluation_without_films(filmed, tmp_path):
    _, results, *_ = filmed
    plain = evaluate_rule(RULE, [ENV], folder=tmp_path, **SIZES)
    assert plain.records == results.records and not (tmp_path / "films").exists()
    later = evaluate_rule(RULE, [ENV], folder=tmp_path, films=True, **SIZES)
    assert later.about[later.rules[0]]["unfilmed"] == {
        ENV: "it was finished before, without a film"
    }


def test_a_film_is_made_once_and_that_of_another_cell_replaced(filmed, monkeypatch):
    folder, results, parts, learners = filmed
    path = film_path(folder, ENV)
    before, mark = os.stat(path).st_mtime_ns, comment_of(path)
    again = evaluate_rule(RULE, [ENV], folder=folder, films=True, **SIZES)
    assert again.records == results.records and "unfilmed" not in again.about[again.rules[0]]

    def ended(cell):
        cell.at_end(learners)
        return np.zeros((2, 2))

    monkeypatch.setattr(cells, "play_cell", ended)
    for cell in (folder / "cells").iterdir():
        cell.unlink()  # as if it was killed after the film
    evaluate_rule(RULE, [ENV], folder=folder, films=True, **SIZES)
    assert os.stat(path).st_mtime_ns == before
    evaluate_rule(RULE, [ENV], folder=folder, films=True, **{**SIZES, "episodes": 5})
    assert os.stat(path).st_mtime_ns != before and comment_of(path) != mark


CLOCK = """
import gymnasium
import numpy as np


class Clock(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array", "nothing"], "render_fps": 10}
    observation_space = gymnasium.spaces.Discrete(6)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None, dark=False):
        self.render_mode = "nothing" if dark else render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return 0, {}

    def step(self, action):
        self.time += 1
        return self.time, 1.0, self.time == 5, False, {}

    def render(self):
        if self.render_mode == "rgb_array":
            return np.full((4, 6, 3), 40 * self.time, np.uint8)


gymnasium.register("Clock/Mine-v0", entry_point=Clock)
"""


def test_environments_of_gymnasium_are_filmed_up_to_their_last_step(tmp_path, monkeypatch):
    """Each picture of a clock of five steps is as bright as steps were taken."""
    (tmp_path / "clocks_of_a_user.py").write_text(CLOCK)
    monkeypatch.syspath_prepend(tmp_path)
    env = "gym/clocks_of_a_user:Clock/Mine-v0"
    told = evaluate_rule(RULE, [env, f"{env} dark=true"], folder=tmp_path, films=True, **SIZES)
    why = told.about[told.rules[0]]["unfilmed"]
    assert list(why) == [f"{env} dark=true"] and "draws no pictures" in why[f"{env} dark=true"]
    with GifImageFile(film_path(tmp_path, env)) as image:
        shown = []
        for i in range(image.n_frames):
            image.seek(i)
            shown.append(np.unique(np.asarray(image.convert("RGB"))).tolist())
    assert shown == [[0], [40], [80], [120], [160]]
    clock = host.HostEnv.make("clocks_of_a_user:Clock/Mine-v0")
    agent = uniform(clock, {"logits": 2})
    frames = host.pictures(clock, agent, {}, jax.random.key(0), steps=2)
    assert frames.shape == (2, 4, 6, 3) and frames[:, 0, 0, 0].tolist() == [0, 40]


def test_where_nothing_is_drawn_the_last_plane_that_the_agent_saw_is_shown():
    planes = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(1, 1, 2, 3, 4)
    shown = score._seen(planes)
    assert shown.shape == (3, 4, 3) and (shown == planes[0, 0, 1, :, :, None]).all()
    with pytest.raises(ValueError, match="draws no pictures"):
        score._seen(np.zeros((1, 1, 4), np.float32))


def test_what_cannot_be_drawn_is_left_out_with_a_word(tmp_path, monkeypatch):
    def ended(cell):
        cell.at_end(None)  # nobody to film
        return np.zeros((2, 2))

    monkeypatch.setattr(cells, "play_cell", ended)
    said, envs = [], [ENV, "ProbeAction-v0"]
    told = evaluate_rule(RULE, envs, folder=tmp_path, films=True, report=said.append, **SIZES)
    why = told.about[told.rules[0]]["unfilmed"]
    assert "AttributeError" in why[ENV] and why["ProbeAction-v0"] == "it draws no pictures"
    assert not hasattr(metarl.make("ProbeAction-v0"), "render")
    assert "ProbeAction-v0: no film, it draws no pictures" in said
    with pytest.raises(ValueError, match="films need a folder"):
        evaluate_rule(RULE, envs, films=True, **SIZES)


def test_the_comment_of_what_is_no_gif_is_empty(tmp_path):
    (tmp_path / "x.gif").write_bytes(b"GIF89a")
    assert comment_of(tmp_path / "x.gif") == comment_of(tmp_path / "absent.gif") == ""
