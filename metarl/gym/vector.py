"""Many of one of our environments as a `gymnasium.vector.VectorEnv`: one compiled step for all."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from gymnasium import error
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarl.gym import common
from metarl.gym.batch import Loop, Plan, begin, pictures, renew, step
from metarl.rollout import Pool, Reset, fresh, pool
from metarl.types import PyTree, TimeStep

Info = dict[str, Any]
_RESETS: dict[str, Reset] = {"fresh": fresh, "pool": pool(1024, refresh=8)}


class GymVectorEnv(VectorEnv):
    """What `gymnasium.make_vec("metarl/<id>", num_envs=N, **settings)` returns.

    Each environment plays just what `GymEnv` would with its seed, and everything returned has the
    form of `gymnasium.vector.SyncVectorEnv`. `autoreset_mode` says what follows an end:

    - `NEXT_STEP`: the step shows the final observation; the next one ignores its action, pays 0
      and shows the new start.
    - `SAME_STEP`: the step shows the new start; `infos["final_obs"]` and `infos["final_info"]` keep
      what it replaced, in the rows where `infos["_final_obs"]` is true.
    - `DISABLED`: nothing. Start rows anew with `reset(options={"reset_mask": mask})`, as one may in
      every mode; a step of a row that has ended raises `ResetNeeded` with numpy output, and is
      harmless and meaningless with `output="jax"`, where the host never looks.

    A new start is always drawn anew, and never at the cost of other rows' transitions.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}

    def __init__(
        self,
        name: str,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        output: str = "numpy",
        reset: str | Pool = "fresh",
        params: PyTree = None,
        **settings: Any,
    ):
        """Makes the environments.

        Args:
          name: the id in metarl; `gymnasium.make_vec` fills it in.
          num_envs: N.
          autoreset_mode: a mode or its name, such as `"SameStep"`.
          render_mode: `"rgb_array"` or `"ansi"`, N of them, or None.
          output: `"numpy"` for fresh numpy arrays. `"jax"` for arrays as they lie on the device,
            and steps that do not wait for it; `final_obs` is then [N, ...] and always there.
          reset: `"fresh"` starts, or stored ones, `"pool"` or `metarl.rollout.pool(size, refresh)`,
            where starts are slow to make; entries of `info` are zero at a stored start.
          params: whole params, of one task for all, or of one for each row, leaves [N, ...]: a
            task distribution. They stand instead of the default ones and of settings of those.
          **settings: static fields of the environment and leaves of its params by name.

        Raises:
          ValueError: an unknown setting or option, or a bad value.
        """
        self.name, self.num_envs = name, num_envs
        env, self.params = common.make(name, settings, params)
        axis = _task_axis(self.params, env.default_params(), num_envs)
        mode = AutoresetMode(autoreset_mode)
        self._plan = Plan(env, num_envs, mode, _reset(reset), axis)
        if output not in ("numpy", "jax"):
            raise ValueError(f"output is numpy or jax, got {output!r}")
        modes = common.render_modes(env)
        self.render_mode = common.check_render_mode(name, render_mode, modes)
        self._jax = output == "jax"
        told = {"render_modes": modes, "autoreset_mode": mode, "jax": self._jax}
        self.metadata = {**self.metadata, **told}
        self.single_observation_space = env.observation_space
        self.single_action_space = env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._loop: Loop | None = None
        self._ended = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Info | None = None
    ) -> tuple[Any, Info]:
        """Starts all episodes, or those of a mask: `(obs, infos)`.

        Args:
          seed: row `i` starts its random stream anew with `seed + i` or `seed[i]`. None goes on.
          options: `{"params": params}` changes the task, `{"reset_mask": [N] bool}` keeps the rows
            that are False as they are: their observation is shown again, their info is not.
        """
        seeds = self._seeds(seed)
        chosen = common.check_options(options, ("params", "reset_mask"))
        if "params" in chosen:
            self._change_task(chosen["params"])
        mask = self._mask(chosen.get("reset_mask"))
        words = common.seed_words(seeds, self.np_random, self.num_envs)
        seeded = np.array([s is not None for s in seeds])
        if self._loop is None or (mask & seeded).all():
            self._loop = begin(self._plan, words, self.params)
        else:
            self._loop = renew(self._plan, self._loop, mask, mask & seeded, words, self.params)
        self._ended = self._ended & ~mask
        return self._shown(self._loop.ts, mask)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Info]:
        """`(obs, rewards, terminations, truncations, infos)`, each of N rows.

        Raises:
          ValueError: actions of another shape than the space's.
          gymnasium.error.ResetNeeded: before the first `reset`, or as `DISABLED` tells.
        """
        if self._loop is None:
            raise error.ResetNeeded(f"call reset before the first step of {self.name}")
        if self._plan.mode == AutoresetMode.DISABLED and self._ended.any():
            rows = np.flatnonzero(self._ended)
            raise error.ResetNeeded(f"rows {rows} have ended; reset(options={{'reset_mask': ...}})")
        if not isinstance(actions, jax.Array):
            actions = common.action_array(self.action_space, actions)
        self._loop, final = step(self._plan, self._loop, actions, self.params)
        ts, last = self._loop.ts, self._loop.last
        if self._jax:
            obs, infos = self._shown(ts, _all(self.num_envs))
            infos = infos if final is None else {**_final(final.obs, _info(final), last), **infos}
            return obs, ts.reward, ts.terminated, ts.truncated, infos
        ts, last, final = jax.device_get((ts, last, final))
        self._ended = last & (self._plan.mode == AutoresetMode.DISABLED)
        obs, infos = self._shown(ts, _all(self.num_envs))
        if final is not None and last.any():
            info = _rows(_info(final), last, partial(_blank, ~last))
            infos = {**_final(self._objects(final.obs, last), info, last.copy()), **infos}
        flags = (np.array(ts.terminated), np.array(ts.truncated))
        return obs, np.array(ts.reward, np.float64), *flags, infos

    def render(self) -> tuple[Any, ...] | None:
        """N pictures [H, W, 3] uint8 or N texts, as `render_mode` says."""
        if self.render_mode is None:
            return None
        if self._loop is None:
            raise error.ResetNeeded(f"call reset before rendering {self.name}")
        plan, state, params = self._plan, self._loop.state, self.params
        env: Any = plan.env
        if self.render_mode == "rgb_array":
            return tuple(np.array(pictures(plan, state, params)))
        rows = []
        for i in range(self.num_envs):
            one = lambda x, i=i: x[i]  # noqa: E731
            task = params if plan.task_axis is None else jax.tree.map(one, params)
            rows.append(env.render_text(jax.tree.map(one, state), task))
        return tuple(rows)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if not isinstance(seed, int | np.integer):
            return list(seed)
        super().reset(seed=int(seed))
        return [int(seed) + i for i in range(self.num_envs)]

    def _change_task(self, params: PyTree) -> None:
        self.params = common.like(self.name, params, self.params)
        if isinstance(self._plan.reset, Pool):
            self._loop = None  # its rows are starts of the former task
        default = self._plan.env.default_params()
        self._plan = self._plan._replace(task_axis=_task_axis(params, default, self.num_envs))

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return _all(self.num_envs)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"reset_mask is [{self.num_envs}] bool and not all False, got {mask}")
        if self._loop is None and not mask.all():
            raise error.ResetNeeded("reset all rows before some of them")
        return mask

    def _shown(self, ts: TimeStep, mask: np.ndarray) -> tuple[Any, Info]:
        """Observations, and infos of the rows of `mask`."""
        if self._jax:
            return ts.obs, _rows(_info(ts), mask, lambda x: x)
        ts = jax.device_get(ts)
        obs = common.to_numpy(self.observation_space, ts.obs)
        return obs, _rows(_info(ts), mask, partial(_blank, ~mask))

    def _objects(self, obs: PyTree, last: np.ndarray) -> np.ndarray:
        """[N] single observations, None where no episode ended, as `SyncVectorEnv` has them."""
        out, rows = np.full(self.num_envs, None, object), np.flatnonzero(last)
        ended = common.to_numpy(self.observation_space, jax.tree.map(lambda x: x[rows], obs))
        for k, i in enumerate(rows):
            out[i] = jax.tree.map(lambda x, k=k: x[k], ended)
        return out


def _info(ts: TimeStep) -> Info:
    return ts.info if ts.action_mask is None else {**ts.info, "action_mask": ts.action_mask}


def _rows(info: Info, mask: np.ndarray, keep: Callable[[Any], Any]) -> Info:
    """What to keep of every entry, and under `_` and its name the rows that have it."""
    out: Info = {}
    for name, value in info.items():
        out[name] = _rows(value, mask, keep) if isinstance(value, dict) else keep(value)
        out[f"_{name}"] = mask.copy()
    return out


def _blank(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A copy with zeros in these rows."""
    x = np.array(x)
    x[rows] = 0
    return x


def _final(obs: Any, info: Info, last: Any) -> Info:
    return {"final_obs": obs, "_final_obs": last, "final_info": info, "_final_info": last}


def _all(num_envs: int) -> np.ndarray:
    return np.ones(num_envs, bool)


def _reset(reset: str | Pool) -> Reset:
    if isinstance(reset, Pool):
        return reset
    if reset not in _RESETS:
        raise ValueError(f"reset is fresh, pool or metarl.rollout.pool(...), got {reset!r}")
    return _RESETS[reset]


def _task_axis(params: PyTree, default: PyTree, num_envs: int) -> int | None:
    """0 where every leaf has a row for each environment, None where one task is for all."""
    pairs = list(zip(jax.tree.leaves(params), jax.tree.leaves(default), strict=True))
    more = [np.ndim(x) - np.ndim(y) for x, y in pairs]
    if not any(more):
        return None
    if all(extra == 1 for extra in more) and all(x.shape[0] == num_envs for x, _ in pairs):
        return 0
    raise ValueError(f"params are of one task, or have {num_envs} rows in every leaf")
