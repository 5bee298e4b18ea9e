"""Acting in a Gymnasium vector environment: experience in the very form of `metarl.inner.act`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from metarl.host.env import HostEnv
from metarl.ops import keys
from metarl.ops.distributions import policy
from metarl.rollout import Experience, apply_all, where
from metarl.types import Agent, AgentInput, Heads, Key, Params, PyTree, Rollout


class Collector:
    """Steps `envs` with an agent; keeps the agent's memory and the episodes in progress.

    The true successor of every step is kept, whatever the autoreset mode: with `NEXT_STEP` the
    observation itself, with `SAME_STEP` from `infos["final_obs"]`, and with `DISABLED` rows that
    have ended are started anew at once through `reset_mask`. Under `NEXT_STEP` the step that only
    resets a row never enters the rollout; rows end up out of step, so the vector environment is
    stepped until the last has `length` steps, and what the others do meanwhile is not learned from.

    Legal actions are taken from `infos["action_mask"]`, where the environment offers it. A step
    that says both counts as terminated.
    """

    def __init__(self, envs: VectorEnv, agent: Agent, *, seed: int = 0):
        """Starts all episodes.

        Args:
          envs: N environments, whose `metadata["autoreset_mode"]` is set.
          agent: built for `HostEnv.of(envs)`.
          seed: of the environments.

        Raises:
          ValueError: the autoreset mode is not known.
        """
        mode = envs.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(f"{envs} does not say its metadata['autoreset_mode'], got {mode!r}")
        self.envs, self.agent, self.mode, self.env = envs, agent, mode, HostEnv.of(envs)
        self.num_envs = envs.num_envs
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Starts all episodes anew, with an empty memory; row `i` gets the seed `seed + i`."""
        n = self.num_envs
        obs, infos = self.envs.reset(seed=seed)
        reward: Any = np.zeros(n, np.float32)
        first: Any = np.ones(n, bool)
        nothing: Any = self.env.nothing(n)
        self._inputs = AgentInput(self.env.read(obs), nothing, reward, first, _mask(infos))
        memory = self.agent.carry()
        self._carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape)), memory)
        self._resets = np.zeros(n, bool)  # the next step of the row does nothing but reset it
        self._ret, self._length = np.zeros(n), np.zeros(n, int)

    def blank(self, params: Params, length: int) -> Rollout:
        """A rollout of zeros, of the shapes and dtypes that `collect` returns."""
        now, key = self._inputs, jax.random.key(0)
        heads, action, _ = _act(
            self.agent, params, self._carry, now, self._resets, key, np.int32(0), False
        )
        step = Experience(now, action, now.prev_reward, now.first, now.first, now, heads)
        return Rollout(**vars(_room(step, length)), carry=self._carry)

    def collect(
        self, params: Params, key: Key, *, length: int, greedy: bool = False
    ) -> tuple[Rollout, dict[str, Any]]:
        """Acts for `length` steps of every row. The key is consumed.

        Args:
          params: of the agent.
          key: of the actions; the environments draw for themselves.
          length: T.
          greedy: take the likeliest action instead of sampling.

        Returns:
          A rollout of numpy arrays [N, T, ...] (carry [N, ...]), and of the episodes that ended
          `episodes` (how many), `episode_return` and `episode_length` (means; NaN if none).
        """
        done, carry, time = np.zeros(self.num_envs, int), self._carry, 0
        room: PyTree = None
        ended: list[tuple[float, float]] = []
        while done.min() < length:
            resets = self._resets
            heads, action, self._carry = _act(
                self.agent, params, self._carry, self._inputs, resets, key, np.int32(time), greedy
            )
            step = self._step(*jax.device_get((heads, action)))
            ended += self._count(step, ~resets)
            rows = np.flatnonzero(~resets & (done < length))
            room = _room(step, length) if room is None else room
            for kept, new in zip(jax.tree.leaves(room), jax.tree.leaves(step), strict=True):
                kept[rows, done[rows]] = new[rows]
            done[rows] += 1
            time += 1
        mean: Any = np.mean(ended or [(np.nan, np.nan)], axis=0, dtype=np.float32)
        metrics = {"episodes": np.int32(len(ended)), "episode_return": mean[0]}
        return Rollout(**vars(room), carry=carry), {**metrics, "episode_length": mean[1]}

    def _step(self, heads: Heads, action: Any) -> Experience:
        """One step of the vector environment; prepares the inputs of the next."""
        now, acted = self._inputs, ~self._resets
        told: Any = self.envs.step(self.env.act(action))
        obs, mask = self.env.read(told[0]), _mask(told[4])
        reward: Any = np.array(told[1], np.float32)
        terminated: Any = np.array(told[2], bool)
        truncated: Any = np.asarray(told[3], bool) & ~terminated
        last: Any = terminated | truncated
        after: Any = AgentInput(obs, action, reward, np.zeros_like(last), mask)
        if self.mode == AutoresetMode.SAME_STEP and last.any():
            after = self._final(after, told[4], last)
        if self.mode == AutoresetMode.DISABLED and last.any():
            new, infos = self.envs.reset(options={"reset_mask": last.copy()})
            obs = self.env.read(new)
            mask = _choose(last, _mask(infos), mask)
        # A row that was only reset still remembers how its episode ended.
        before, paid = _choose(acted, (action, reward), (now.prev_action, now.prev_reward))
        self._inputs = AgentInput(obs, before, paid, last | ~acted, mask)
        self._resets = last & (self.mode == AutoresetMode.NEXT_STEP)
        return Experience(now, action, reward, terminated, truncated, after, heads)

    def _final(self, after: Any, infos: dict[str, Any], last: np.ndarray) -> AgentInput:
        """The successor, with what `SAME_STEP` replaced in the rows that have ended."""
        if "final_obs" not in infos:
            raise ValueError(f"{self.envs} resets in the same step without infos['final_obs']")
        obs = jax.tree.map(np.copy, after.obs)
        for i in np.flatnonzero(last):
            one = self.env.read(infos["final_obs"][i])
            for kept, new in zip(jax.tree.leaves(obs), jax.tree.leaves(one), strict=True):
                kept[i] = new
        final = after.action_mask if after.action_mask is None else _mask(infos["final_info"])
        return after.replace(obs=obs, action_mask=_choose(last, final, after.action_mask))

    def _count(self, step: Experience, acted: np.ndarray) -> list[tuple[float, float]]:
        """Return and length of the episodes that ended with this step."""
        self._ret += step.reward * acted
        self._length += acted
        rows = np.flatnonzero(step.terminated | step.truncated)
        ended = [(float(self._ret[i]), float(self._length[i])) for i in rows]
        self._ret[rows], self._length[rows] = 0, 0
        return ended


@partial(jax.jit, static_argnums=(0, 7))
def _act(
    agent: Agent,
    params: Params,
    carry: PyTree,
    inputs: AgentInput,
    resets: jax.Array,
    key: Key,
    time: jax.Array,
    greedy: bool,
) -> tuple[Heads, jax.Array, PyTree]:
    """Heads, actions, and memory, which passes over the rows that are only reset, [N, ...]."""
    act_key, _ = keys.split(jax.random.fold_in(key, time))
    heads, after = apply_all(agent, params, carry, inputs)
    draw = jax.vmap(lambda heads, key: policy(heads).sample(key))
    sample = draw(heads, keys.spread(act_key, resets.shape[0]))
    return heads, policy(heads).mode() if greedy else sample, where(resets, carry, after)


def env_seed(*numbers: int) -> int:
    """A seed for environments, far from that of other numbers: row `i` will have it plus `i`.

    It has 30 bits, because some environments take no more.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 2)


def _room(step: Experience, length: int) -> Any:
    """Zeros [N, T, ...] for steps [N, ...]."""
    return jax.tree.map(lambda x: np.zeros((len(x), length, *x.shape[1:]), x.dtype), step)


def _mask(infos: dict[str, Any]) -> Any:
    """[N, A] bool, the legal actions, or None where the environment does not tell them."""
    return np.array(infos["action_mask"], bool) if "action_mask" in infos else None


def _choose(rows: np.ndarray, a: PyTree, b: PyTree) -> Any:
    """`rollout.where` for numpy arrays."""
    pick = lambda x, y: np.where(rows.reshape(-1, *(1,) * (x.ndim - 1)), x, y)  # noqa: E731
    return jax.tree.map(pick, a, b)
