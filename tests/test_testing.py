"""The checker finds what is broken: one small broken environment for each of its sentences."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text

from metarl.ops import keys
from metarl.testing import ContractError, check_env, random_action
from metarl.testing.compare import unequal
from metarl.types import TimeStep


class Params(struct.PyTreeNode):
    limit: jax.Array


class State(struct.PyTreeNode):
    time: jax.Array
    noise: jax.Array


def noise(key):
    return jnp.stack(keys.words(key, 2)).astype(jnp.float32) / 2.0**32


@dataclass(frozen=True)
class Sound:
    """A clock with noise that ends on the right action; the ground the broken ones stand on."""

    num_actions = 2

    @property
    def observation_space(self):
        return Dict({"noise": Box(0, 1, (2,), np.float32), "time": Discrete(500)})

    @property
    def action_space(self):
        return Discrete(2)

    def default_params(self):
        return Params(jnp.int32(9))

    def reset(self, key, params):
        state = State(jnp.int32(0), noise(key))
        return state, self.show(state, params, jnp.float32(0), jnp.bool_(False), jnp.bool_(False))

    def step(self, key, state, action, params):
        state = State(state.time + 1, noise(key))
        terminated = (action == 0) & (state.noise[0] > 0.5)
        truncated = ~terminated & (state.time >= params.limit)
        reward = action.astype(jnp.float32)
        return state, self.show(state, params, reward, terminated, truncated)

    def show(self, state, params, reward, terminated, truncated):
        obs, mask = self.observe(state, params)
        return TimeStep(obs, reward, terminated, truncated, mask)

    def observe(self, state, params):
        obs = {"noise": state.noise, "time": jnp.minimum(state.time, 499)}
        return obs, jnp.ones(2, bool)

    def render(self, state, params):
        return jnp.zeros((4, 4, 3), jnp.uint8)

    def render_text(self, state, params):
        return f"time {state.time}"


def after(method, change):
    """The sound method with its time step changed."""

    def changed(self, *args):
        state, ts = method(self, *args)
        return change(state, ts)

    return changed


def field(name, value):
    return after(Sound.step, lambda state, ts: (state, ts.replace(**{name: value(ts)})))


def impure(self, key, state, action, params):
    state, ts = Sound.step(self, key, state, action, params)
    drawn = jnp.array(np.random.default_rng().random(2), jnp.float32)
    return state.replace(noise=drawn), ts.replace(obs={**ts.obs, "noise": drawn})


def branching(self, key, state, action, params):
    return Sound.step(self, key, state, action if action == 0 else 1 - action, params)


def mixing(self, key, state, action, params):
    """Under vmap the noise is that of all rows together, which no single row can know."""
    mean = jax.custom_batching.custom_vmap(lambda x: x)
    mean.def_vmap(lambda size, batched, x: (jnp.broadcast_to(x.mean(0), x.shape), True))
    state, ts = Sound.step(self, key, state, action, params)
    return state, ts.replace(reward=mean(state.noise[1]))


def depends_on_mode(self, key, state, action, params):
    state, ts = Sound.step(self, key, state, action, params)
    compiled = isinstance(state.time, jax.core.Tracer)
    return state, ts.replace(reward=ts.reward + np.float32(compiled))


def drifting_view(self, state, params):
    obs, mask = Sound.observe(self, state, params)
    return {**obs, "time": obs["time"] + 1}, mask


def show(self, state, params, *rest):
    """What the sound environment shows, whatever this one's `observe` says."""
    return Sound().show(state, params, *rest)


def static_params_step(self, key, state, action, params):
    return Sound.step(self, key, state, action, Params(jnp.int32(params.limit.item())))


BROKEN = [  # what is replaced -> a word of the sentence that must come
    ({"observation_space": (2,)}, "`observation_space` is (2,)"),
    ({"step": None}, "there is no method `step`"),
    ({"action_space": property(lambda self: Discrete(2, start=1))}, "starts at 1"),
    ({"num_actions": 3}, "`num_actions` is 3"),
    ({"__hash__": None}, "cannot be hashed"),
    ({"__eq__": object.__eq__, "__hash__": object.__hash__}, "does not compare equal"),
    (
        {"default_params": lambda self: Sound.default_params(self).replace(limit=9)},
        "params.limit is 9",
    ),
    ({"step": branching}, "`step` cannot be compiled"),
    ({"step": static_params_step}, "cannot be compiled"),
    ({"step": lambda self, *args: Sound.step(self, *args)[1]}, "`step` returns a TimeStep"),
    ({"reset": lambda self, key, params: (0, 1)}, "`reset` returns a tuple"),
    ({"step": field("reward", lambda ts: ts.reward > 0)}, "wrong reward: [] bool, not [] float32"),
    ({"step": field("reward", lambda ts: jnp.where(ts.last, 1.0, 0.0))}, "weak"),
    ({"step": field("truncated", lambda ts: ts.truncated.astype(int))}, "wrong truncated"),
    ({"step": field("action_mask", lambda ts: jnp.ones(3, bool))}, "wrong action_mask"),
    ({"step": field("action_mask", lambda ts: None)}, "time step of `step` is not that of `reset`"),
    ({"step": field("info", lambda ts: {"x": ts.reward})}, "info['x']: only one of the two"),
    ({"step": field("obs", lambda ts: {"noise": ts.obs["noise"]})}, "['time']: only one"),
    (
        {"step": after(Sound.step, lambda s, ts: (s.replace(time=s.time * 1.0), ts))},
        "the state of `step` is not that of `reset` at .time: [] float32",
    ),
    ({"observe": lambda self, s, p: (s.noise, None), "show": show}, "`observe` differs"),
    ({"render": lambda self, s, p: jnp.zeros((4, 4), jnp.uint8)}, "[height, width, 3]"),
    ({"render": lambda self, s, p: np.zeros(int(s.time))}, "`render` cannot be compiled"),
    (
        {"reset": after(Sound.reset, lambda s, ts: (s, ts.replace(truncated=jnp.bool_(True))))},
        "has ended already",
    ),
    ({"step": field("truncated", lambda ts: ts.terminated)}, "terminates and truncates"),
    ({"step": field("action_mask", lambda ts: ts.action_mask & ts.last)}, "no legal action"),
    ({"step": field("reward", lambda ts: ts.reward / 0)}, "a reward is finite"),
    (
        {
            "reset": after(
                Sound.reset, lambda s, ts: (s, ts.replace(obs={**ts.obs, "time": s.time - 1}))
            )
        },
        "an observation of `reset` is not in",
    ),
    ({"step": field("obs", lambda ts: {**ts.obs, "noise": ts.obs["noise"] * 3})}, "in play is not"),
    (
        {
            "step": field(
                "obs", lambda ts: {**ts.obs, "time": ts.obs["time"] + 499 * (ts.obs["time"] > 20)}
            )
        },
        "past the end",
    ),
    ({"step": impure}, "called twice with equal arguments differs at [0].noise"),
    ({"step": depends_on_mode}, "`step` compiled differs at [1].reward"),
    ({"step": mixing}, "`step` in a batch differs at [1].reward"),
    ({"observe": drifting_view, "show": show}, "the step that led to it showed"),
    ({"render_text": lambda self, s, p: None}, "`render_text` returns None"),
]


@pytest.mark.parametrize("change, sentence", BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_every_defect_is_named(change, sentence):
    broken: type = dataclass(frozen=True, eq="__eq__" not in change)(
        type("Broken", (Sound,), change)
    )
    if "__hash__" in change:
        setattr(broken, "__hash__", change["__hash__"])  # noqa: B010
    with pytest.raises(ContractError, match="Broken.*breaks the contract") as error:
        check_env(broken(), steps=30)
    assert sentence in str(error.value)


def test_where_the_fault_lies_is_told():
    broken = type("Broken", (Sound,), {"step": branching})
    with pytest.raises(ContractError) as error:
        check_env(broken())
    line = branching.__code__.co_firstlineno + 1
    assert f"test_testing.py:{line})" in str(error.value) and "jnp.where" in str(error.value)


def test_a_sound_environment_passes():
    check_env(Sound(), steps=30)


def test_all_problems_of_a_stage_come_together():
    bad = type("Bad", (Sound,), {"num_actions": 3, "step": None, "observation_space": None})
    with pytest.raises(ContractError) as error:
        check_env(bad())
    assert str(error.value).count("\n- ") == 3


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3),
        MultiDiscrete([2, 5]),
        Box(-2, 1, (3,), np.float32),
        Box(-np.inf, np.inf, (2,)),
        Box(0, 9, (2,), np.uint8),
    ],
    ids=str,
)
def test_random_actions_lie_in_their_space(space):
    actions = jax.vmap(lambda key: random_action(space, key))(
        jax.random.split(jax.random.key(0), 50)
    )
    assert all(space.contains(action) for action in np.asarray(actions))


def test_random_actions_keep_to_the_mask():
    mask = jnp.array([False, True, False, True])
    many = jax.random.split(jax.random.key(0), 50)
    actions = jax.vmap(lambda key: random_action(Discrete(4), key, mask))(many)
    assert set(actions.tolist()) == {1, 3}


def test_other_action_spaces_are_refused():
    with pytest.raises(ValueError, match="Discrete, MultiDiscrete or Box, got Text"):
        random_action(Text(3), jax.random.key(0))


def test_params_are_the_callers():
    strict = replace(Sound().default_params(), limit=jnp.int32(2))
    check_env(Sound(), strict, steps=5)


def test_what_rounding_moves_far_may_differ_as_far():
    """As in contacts of simulated bodies, whose forces are steep."""
    told, other = {"force": jnp.float32(100.0), "count": 3}, {"force": 100.5, "count": 3}
    told, other = (jax.tree.map(jnp.asarray, tree) for tree in (told, other))
    assert [*unequal(told, other)] == [" at ['force']"]
    assert [*unequal(told, other, told | {"force": jnp.float32(100.4)})] == [" at ['force']"]
    assert not [*unequal(told, other, told | {"force": jnp.float32(99.4)})]
    counted = other | {"count": jnp.asarray(4)}
    assert [*unequal(told, counted, counted)] == [" at ['count']"]  # whole numbers have no rounding
