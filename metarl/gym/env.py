"""One of our environments as a `gymnasium.Env`: numpy in, numpy out."""

from functools import partial
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import error

from metarl.gym import common
from metarl.ops import keys
from metarl.types import Environment, Key, PyTree, TimeStep


class GymEnv(gymnasium.Env):
    """What `gymnasium.make("metarl/<id>", **settings)` returns below Gymnasium's own wrappers.

    Observations are fresh numpy arrays of the space's dtype, rewards and flags Python numbers, and
    `terminated` and `truncated` are apart. `info` holds the environment's own entries, and
    `action_mask` (True where legal) where there is one. An action out of range is clipped, as the
    environment documents. After the end, step no further: call `reset`, which draws a new start.

    Everything random follows from `reset(seed=...)`: the stream is that of `jax.random.key(seed)`,
    split once a step and once a reset. A seed given to `GymVectorEnv` plays the same episode.
    Equal environments share compiled programmes.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}

    def __init__(
        self, name: str, *, render_mode: str | None = None, params: PyTree = None, **settings: Any
    ):
        """Makes the environment.

        Args:
          name: the id in metarl; `gymnasium.make` fills it in.
          render_mode: `"rgb_array"`, `"ansi"` or None.
          params: whole params, instead of the default ones and of settings that change those.
          **settings: static fields of the environment and leaves of its params by name.

        Raises:
          ValueError: an unknown setting, a bad value, or a render mode that there is not.
        """
        self.name = name
        self.env, self.params = common.make(name, settings, params)
        modes = common.render_modes(self.env)
        self.metadata = {**self.metadata, "render_modes": modes}
        self.render_mode = common.check_render_mode(name, render_mode, modes)
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self._key: Key | None = None
        self._state: PyTree = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Starts an episode: `(obs, info)`.

        Args:
          seed: starts the random stream anew; None goes on with it.
          options: `{"params": params}` changes the task from this episode on.
        """
        super().reset(seed=seed)
        chosen = common.check_options(options, ("params",))
        if "params" in chosen:
            self.params = common.like(self.name, chosen["params"], self.params)
        if seed is not None or self._key is None:
            words = common.seed_words([seed], self.np_random, 1)[0]
            self._key = jax.random.wrap_key_data(words, impl="threefry2x32")
        self._key, self._state, ts = start(self.env, self._key, self.params)
        return self._shown(jax.device_get(ts))

    def step(self, action: Any):
        """`(obs, reward, terminated, truncated, info)`.

        Raises:
          ValueError: an action of another shape than the space's.
          gymnasium.error.ResetNeeded: before the first `reset`.
        """
        if self._state is None:
            raise error.ResetNeeded(f"call reset before the first step of {self.name}")
        array = common.action_array(self.action_space, action)
        out = advance(self.env, self._key, self._state, array, self.params)
        self._key, self._state, ts = out
        ts = jax.device_get(ts)
        obs, info = self._shown(ts)
        return obs, float(ts.reward), bool(ts.terminated), bool(ts.truncated), info

    def render(self) -> Any:
        """A picture [H, W, 3] uint8, a text, or None, as `render_mode` says."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise error.ResetNeeded(f"call reset before rendering {self.name}")
        if self.render_mode == "ansi":
            env: Any = self.env
            return env.render_text(self._state, self.params)
        return np.array(picture(self.env, self._state, self.params))

    def _shown(self, ts: TimeStep) -> tuple[Any, dict[str, Any]]:
        info = dict(ts.info)
        if ts.action_mask is not None:
            info["action_mask"] = ts.action_mask
        return common.to_numpy(self.observation_space, ts.obs), jax.tree.map(_plain, info)


@partial(jax.jit, static_argnums=0)
def start(env: Environment, key: Key, params: PyTree) -> tuple[Key, PyTree, TimeStep]:
    """An episode begins: the rest of the stream, the state, and what it shows."""
    key, now = keys.split(key)
    return key, *env.reset(now, params)


@partial(jax.jit, static_argnums=0)
def advance(
    env: Environment, key: Key, state: PyTree, action: jax.Array, params: PyTree
) -> tuple[Key, PyTree, TimeStep]:
    """One step: the rest of the stream, the state, and what it shows."""
    key, now = keys.split(key)
    return key, *env.step(now, state, action, params)


@partial(jax.jit, static_argnums=0)
def picture(env: Any, state: PyTree, params: PyTree) -> jax.Array:
    """[H, W, 3] uint8."""
    return env.render(state, params)


def _plain(x: Any) -> Any:
    """A writable array, or a scalar of the same dtype, with Python's own truth values."""
    x = np.array(x)
    return x if x.ndim else x.item() if x.dtype == bool else x[()]
