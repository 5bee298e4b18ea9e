"""Tests run on the CPU unless JAX_PLATFORMS says otherwise, and are compiled in haste.

Almost all of their time is compilation. Without LLVM's optimisations it takes two thirds of it, and
a quarter where XLA may also fuse by its older emitters; `XLA_FLAGS= make test` runs what users run.
"""

import os

import jax
import pytest

import metarl

HASTE = ["--xla_backend_optimization_level=0"]
if jax.__version_info__ < (0, 12):  # later ones lack them, and end where they are told to use them
    HASTE += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", " ".join(HASTE))

FAMILIES = {  # of many ids of one kind, those that stand for the others outside of slow tests
    "brax/": ("brax/fast",),  # every other one compiles for a quarter of a minute
    "LPG": ("LPGAll-v0", "LPGRandSparse-v0"),  # the others are their programmes on other levels
}


def _ids():
    for name in metarl.registered():
        slow = any(name.startswith(f) and name not in few for f, few in FAMILIES.items())
        yield pytest.param(name, marks=[pytest.mark.slow] if slow else [])


@pytest.fixture(params=[*_ids()], scope="module")
def env_id(request):
    """Every registered environment in turn; without Brax its own are skipped."""
    if request.param.startswith("brax/"):
        pytest.importorskip("brax")
    return request.param


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """Equal programmes of one file compile once, in its child processes too."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name.upper(), str(value))
            jax.config.update(name, value)
        yield
    for name, value in before.items():
        jax.config.update(name, value)


MORTAL = """
import os, signal, sys
import metarl.reproduce
from metarl.cli import main

metarl.reproduce.CHECKPOINT_SECONDS = 0
left, rename = int(sys.argv[1]), os.replace

def replace(source, target):
    global left
    left -= str(target).endswith(".ckpt")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.replace = replace
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="session")
def compilations():
    """`with compilations() as found:` -> a list with an entry for each compilation meanwhile."""
    import contextlib

    from jax import monitoring

    @contextlib.contextmanager
    def counted():
        found = []

        def listen(event: str, duration_secs: float, **_: str | int) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                found.append(duration_secs)

        monitoring.register_event_duration_secs_listener(listen)
        try:
            yield found
        finally:
            monitoring.unregister_event_duration_listener(listen)

    return counted


@pytest.fixture(scope="session")
def mortal():
    """`(n, *arguments)` -> the command of `metarl arguments` as a process that kills itself.

    It does so between writing its n-th checkpoint and renaming it; never if n is negative.
    Recipes save after every chunk.
    """
    import sys

    return lambda n, *arguments: [sys.executable, "-c", MORTAL, str(n), *arguments]


@pytest.fixture(scope="module")
def countdown():
    """`Countdown-v0`, a small environment with all that a Gymnasium client may meet.

    Observations are a dict, entries of info of several kinds, some steps random, actions masked.
    It terminates when `left` reaches 0 and is truncated after `max_steps`.
    """
    from dataclasses import dataclass

    import gymnasium
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import struct
    from gymnasium.spaces import Box, Dict, Discrete

    import metarl.gym
    from metarl import registry
    from metarl.types import TimeStep

    class Params(struct.PyTreeNode):
        max_steps: jax.Array
        bonus: jax.Array

    class State(struct.PyTreeNode):
        left: jax.Array
        time: jax.Array
        noise: jax.Array

    @dataclass(frozen=True)
    class Countdown:
        most: int = 4
        num_actions = 2

        @property
        def action_space(self):
            return Discrete(2)

        @property
        def observation_space(self):
            noise = Box(0, 255, (2,), np.uint8)
            return Dict(left=Discrete(self.most + 1), noise=noise)

        def default_params(self):
            return Params(jnp.int32(3), jnp.float32(0.5))

        def reset(self, key, params):
            left_key, noise_key = jax.random.split(key)
            left = jax.random.randint(left_key, (), 1, self.most + 1)
            state = State(left, jnp.int32(0), jax.random.bits(noise_key, (2,), jnp.uint8))
            return state, self._show(state, jnp.float32(0), jnp.bool_(False), jnp.bool_(False))

        def step(self, key, state, action, params):
            left = jnp.maximum(state.left - jnp.clip(action, 0, 1), 0)
            state = State(left, state.time + 1, jax.random.bits(key, (2,), jnp.uint8))
            done = left == 0
            reward = action * params.bonus
            return state, self._show(state, reward, done, ~done & (state.time >= params.max_steps))

        def render(self, state, params):
            return jnp.full((4, 6, 3), 10 * state.left, jnp.uint8)

        def render_text(self, state, params):
            return f"{state.left} left"

        def _show(self, state, reward, terminated, truncated):
            info = {"time": state.time, "odd": state.left % 2 == 1, "twice": state.noise / 2.0}
            mask = jnp.stack([state.left != 1, jnp.bool_(True)])
            obs = {"left": state.left, "noise": state.noise}
            return TimeStep(obs, reward, terminated, truncated, mask, info)

    metarl.register("Countdown-v0", Countdown)
    metarl.gym.register_all()
    yield Countdown
    del registry._REGISTRY["Countdown-v0"], gymnasium.registry["metarl/Countdown-v0"]


@pytest.fixture(scope="session")
def meta_parts():
    """`(env, agent builder, **options of a2c) -> the parts of a tiny outer loop`, as a namespace.

    Two learners in three environments each, rollouts of four steps; by default in a grid
    of nine cells.
    """
    from functools import partial
    from types import SimpleNamespace

    import optax

    from metarl.agents.mlp import mlp
    from metarl.meta.objectives import policy_gradient
    from metarl.rollout import vectorize
    from metarl.rules import a2c

    def build(env=None, agent=None, **options):
        from metarl.inner import birth

        env = env or metarl.make("GridWorld-v0", size=3)
        agent = (agent or partial(mlp, hidden=(4,)))(env, a2c.heads(env))
        eta = a2c.hypers(0.9, 0.8, 0.05, 0.4, 0.7)
        options = {"optimizer": optax.sgd(1.0, momentum=0.5), "eta": eta, **options}
        rule = a2c.a2c(agent, a2c.heads(env), **options)
        venv = vectorize(env, 3)
        born = partial(birth, agent, rule, venv, env.default_params())

        def call(function, *args, **how):
            """A function of the parts of the inner loop."""
            return function(agent, rule, venv, *args, length=4, **how)

        return SimpleNamespace(
            env=env,
            agent=agent,
            rule=rule,
            venv=venv,
            call=call,
            objective=policy_gradient(agent, entropy_cost=0.1),
            length=4,
            born=born,
            learners=jax.jit(jax.vmap(born))(jax.random.split(jax.random.key(0), 2)),
        )

    return build


@pytest.fixture(scope="session")
def reveal():
    """`Reveal`, a task that an agent can know at the second attempt and not at the first.

    One of four actions is right, `params.secret`. Choosing it ends the episode with reward 1; after
    any other the secret is shown for one turn, in which nothing can be won, and the episode ends.
    The split "train" has the secrets 0 to 2, "heldout" has 3.
    """
    from dataclasses import dataclass

    import jax.numpy as jnp
    import numpy as np
    from flax import struct
    from gymnasium.spaces import Box, Discrete

    from metarl.types import TimeStep

    class Params(struct.PyTreeNode):
        secret: jax.Array
        max_steps: jax.Array

    @dataclass(frozen=True)
    class Reveal:
        num_actions: int = 4
        action_space = Discrete(4)
        observation_space = Box(0, 1, (5,), np.float32)

        def default_params(self):
            return Params(jnp.int32(2), jnp.int32(2))

        def sample_params(self, key, split=None):
            low, high = {None: (0, 4), "train": (0, 3), "heldout": (3, 4)}[split]
            return Params(jax.random.randint(key, (), low, high), jnp.int32(2))

        def reset(self, key, params):
            no = jnp.bool_(False)
            return jnp.int32(0), TimeStep(jnp.zeros(5), jnp.float32(0), no, no)

        def step(self, key, turn, action, params):
            right = (turn == 0) & (action == params.secret)
            shown = jax.nn.one_hot(params.secret, 4) * ~right
            obs = jnp.concatenate([jnp.ones(1), shown])
            over = right | (turn == 1)
            return turn + 1, TimeStep(obs, right.astype(jnp.float32), over, jnp.bool_(False))

    return Reveal
