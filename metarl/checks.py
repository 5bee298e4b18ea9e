"""`metarl check-env`: everything the package asks of an environment, told in words."""

import re
import warnings
from collections.abc import Iterator
from typing import Any

import jax

from metarl.build import make_env
from metarl.config import Part
from metarl.ops import keys
from metarl.rollout import vectorize
from metarl.testing import ContractError, check_env, random_action
from metarl.types import Environment, PyTree

_BATCH, _WINDOW = 8, 512  # environments and steps that are watched for an end
HARMLESS = "is (-)?infinity|symmetric and normalized space"  # Gymnasium's advice on spaces


def found(target: Part, *, steps: int = 128, seed: int = 0) -> Iterator[str]:
    """What is wrong with an environment, problem by problem; nothing where all is well.

    Args:
      target: a registered id or `module:Class`, with settings.
      steps: length of the random play.
      seed: of that play.

    Raises:
      ValueError: there is no such environment or setting, or its constructor refuses.
    """
    env, params, _ = make_env(target)
    try:
        check_env(env, params, steps=steps, seed=seed)
    except ContractError as error:
        yield from str(error).split("\n- ")[1:]
        return  # the rest stands on that ground
    yield from _batch_problems(env, params, seed)
    yield from _gymnasium_problems(target, env)


def _batch_problems(env: Environment, params: PyTree, seed: int) -> Iterator[str]:
    """A batch with auto-reset compiles once, and episodes end."""
    venv, traces = vectorize(env, _BATCH), []

    @jax.jit
    def run(key: jax.Array, state: PyTree) -> tuple[PyTree, jax.Array]:
        traces.append(key)

        def step(state: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array]:
            draw = lambda key, mask: random_action(env.action_space, key, mask)  # noqa: E731
            action_key, step_key = jax.random.split(key)
            many = jax.random.split(action_key, _BATCH)
            mask = state.inputs.action_mask
            actions = jax.vmap(draw, in_axes=(0, None if mask is None else 0))(many, mask)
            state, ts = venv.step(step_key, state, actions, params)
            return state, ts.last

        state, last = jax.lax.scan(step, state, jax.random.split(key, _WINDOW))
        return state, last.any()

    first, second = keys.split(jax.random.key(seed))
    state, one = run(first, venv.init(first, params))
    _, other = run(second, state)
    if len(traces) > 1:
        yield "a second call compiles again; return what you were given: same shapes, same dtypes"
    if not (one or other) and not hasattr(params, "max_steps"):
        yield (
            f"no episode ended within {2 * _WINDOW} steps of random play, and the params have no "
            "`max_steps` to cut one off; add it, as jnp.int32, and set `truncated` by it"
        )


def _gymnasium_problems(target: Part, env: Environment) -> Iterator[str]:
    """What Gymnasium's own checker says of the environment as a `gymnasium.Env`."""
    from gymnasium.utils.env_checker import check_env as gymnasium_check

    from metarl.gym.env import GymEnv

    settings: Any = target.fields
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            gymnasium_check(GymEnv(target.name, **settings), skip_render_check=True)
        except Exception as error:  # whatever a foreign checker and the caller's code may raise
            yield f"Gymnasium refuses it: {str(error).strip().splitlines()[0]}"
    for warning in caught:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(warning.message))
        if not re.search(HARMLESS, text):
            yield f"Gymnasium warns: {text}"
