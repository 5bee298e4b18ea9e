"""Every registered recipe: that it has all its parts, and runs to the end with tiny settings."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from metarl import registry
from metarl.config import Part
from metarl.recipes.common import Arm
from metarl.reproduce import reproduce, settings_of

pytestmark = pytest.mark.usefixtures("compile_once")

TINY = {  # recipe -> settings with which it takes seconds; one line a recipe
    "bmg_epsilon": "seeds=1 steps=40 row=20 hidden=4 meta_hidden=4 window=5",
    "bmg_two_colours": "seeds=1 steps=64 row=32 hidden=4 length=2",
    "estimator_bias": "seeds=1 horizon=1 long_horizon=1 sizes=1 step_sizes=0.1,0.3",
    "groove": "levels=2 seeds=1 grid_lifetimes=2,2,2 game_lifetime=2 workers=2 num_envs=2 length=2"
    " games=Breakout-v0 grid_rates=1.0 grid_costs=0.01 game_rates=1e-3 chunks=2",
    "maml_cheetah": "seeds=1 meta_updates=1 tests=1 tasks=2 trajectories=2 horizon=3 hidden=4"
    " test_tasks=2 test_rates=0.1",
    "maml_navigation": "seeds=1 meta_updates=1 tests=1 tasks=2 trajectories=2 horizon=3 hidden=4"
    " test_tasks=2 test_rates=0.1",
    "mrp_state_gamma": "seeds=1 updates=200 batch=2",
    "outer_value": "seeds=2 normalised=10 plain=0 exact=0 num_envs=4",
    "outer_value_snake": "seeds=1 steps=80 num_envs=2 length=2",
    "rl2_bandit": "seeds=1 steps=200 num_envs=4 chunks=1 cores=gru hidden=4 bandits=4",
    "snake_mixing": "seeds=1 stages=8,16 replicas=3 updates=2 num_envs=2 length=2",
    "srwm_few_shot": "cores=gru, later=gru seeds=1 steps=2 later_steps=2 shots=1"
    " later_shots=2 trim=1 width=4 heads=1 widening=1 batch=2 tests=8 rows=1",
    "srwm_multitask": "seeds=1 steps=64 num_envs=2 length=4 chunks=1"
    " cores=srwm/heads=2,none hidden=4 episodes=1 longest=3",
    "ta_lpg": "levels=3 horizons=2,4 scheduled=4 workers=2 length=2 chunks=2",
    "trials_hidden": "seeds=1 tasks=moves cores=gru,forgetful hidden=4 steps=100 num_envs=4"
    " chunks=1 trials=4 moves=2",
    "trials_minesweeper": "steps=100 num_envs=4 chunks=1 boards=4 width=4 layers=1",
    "trials_sokoban": "steps=100 num_envs=4 chunks=1 levels=4 width=4 layers=1 length=4 moves=2"
    " made=3",
    "truncation_bias": "seeds=1 updates=10 windows=1,5 size=3 net_updates=4 net_windows=1,2 width=4"
    " layers=1 examples=8",
    "upgd": "tune_seeds=1 seeds=1 tasks=2 samples=3 hidden=4 tasks_per_chunk=2",
}
NEEDS = {"maml_cheetah": "brax"}  # recipe -> what else must be installed
SLOW = (  # they take long to compile
    *("groove", "maml_cheetah", "outer_value_snake", "srwm_multitask"),
    *("trials_minesweeper", "trials_sokoban"),
)
each_recipe = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in registry.RECIPES
    ],
)


class Silent:
    def line(self, text):
        pass

    def progress(self, *numbers):
        pass


def test_every_recipe_has_its_line_here():
    assert set(TINY) == set(registry.RECIPES), "add tiny settings of the recipe to TINY"


def _module(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return registry.recipe_module(name)


@each_recipe
def test_it_says_what_it_reproduces_and_with_which_numbers(name):
    recipe = _module(name)
    assert recipe.__name__ == f"metarl.recipes.{name}"
    assert re.search(r"\(.*\d{4}", recipe.PAPER), "PAPER cites authors and year"
    assert recipe.CLAIM and "\n" not in recipe.CLAIM and not recipe.CLAIM.endswith(".")
    assert vars(recipe.Settings)["__dataclass_params__"].frozen
    assert recipe.Settings() != recipe.QUICK
    for scale in ("quick", "full", *(["long"] if hasattr(recipe, "LONG") else [])):
        arms = recipe.arms(settings_of(recipe, Part(name), scale))
        names = [arm.name for arm in arms]
        folders = {arm.replace("/", "-") for arm in names}
        assert names and len(folders) == len(names), "names of arms become folders"
        assert all(isinstance(arm, Arm) and arm.chunks >= 1 for arm in arms)


@each_recipe
def test_it_runs_to_the_end(name, tmp_path):
    recipe = _module(name)
    part = Part.parse([name, *TINY[name].split()])
    outcome = reproduce(part, tmp_path / "run", Silent(), scale="quick")
    assert outcome.claims and outcome.panels and outcome.numbers
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["recipe"] == name and result["claim"] == recipe.CLAIM
    arms = recipe.arms(settings_of(recipe, part, "quick"))
    assert set(result["seconds"]) == {arm.name for arm in arms}
    for arm in arms:
        jax.eval_shape(arm.start)  # as of a run that goes on
    for claim in result["claims"]:
        assert claim["text"] and claim["published"] and claim["measured"]
        assert isinstance(claim["held"], bool)
    with Image.open(tmp_path / "run" / "figure.png") as image:
        assert np.asarray(image).std() > 0
