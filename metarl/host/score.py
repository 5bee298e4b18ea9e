"""How an agent plays in a Gymnasium environment: whole episodes, as `metarl.evaluate` counts."""

from typing import Any

import jax
import numpy as np
from gymnasium.vector import VectorEnv

from metarl.evaluate import Scores
from metarl.host.collect import Collector, env_seed
from metarl.host.env import HostEnv
from metarl.types import Agent, Key, Params

_CHUNK = 32  # steps between looks at who has finished


def evaluate(
    envs: VectorEnv,
    agent: Agent,
    params: Params,
    key: Key,
    *,
    episodes: int,
    max_steps: int = 10_000,
    greedy: bool = False,
) -> Scores:
    """Plays `episodes` episodes, N at a time, each to its end. The key is consumed.

    Args:
      envs: N environments; they stay open.
      agent: built for `HostEnv.of(envs)`.
      params: of the agent.
      key: draw it apart from training's.
      episodes: E.
      max_steps: where an episode is cut off, to the next multiple of 32.
      greedy: take the likeliest action instead of sampling.

    Returns:
      Numpy arrays [E].
    """
    rounds = -(-episodes // envs.num_envs)
    played = [
        _round(envs, agent, params, k, max_steps, greedy) for k in jax.random.split(key, rounds)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x)[:episodes], *played)


def pictures(env: HostEnv, agent: Agent, params: Params, key: Key, *, steps: int) -> np.ndarray:
    """What is to be seen before each step of an episode: frames [at most steps, H, W, 3] uint8.

    Vector code that an environment brings along may draw nothing, as Atari's; then it is what the
    agent saw, of several planes the last. The key is consumed.

    Raises:
      ValueError: the environment draws no pictures, and they are not what agents see either.
    """
    seed_key, key = jax.random.split(key)
    try:
        envs, draws = env.vector(1, render_mode="rgb_array"), True
    except ValueError:
        envs, draws = env.vector(1), False
    frames: list[np.ndarray] = []
    try:
        collector = Collector(envs, agent, seed=env_seed(int(jax.random.bits(seed_key))))
        for time in range(steps):
            drawn: Any = envs.render() if draws else None
            frame = None if drawn is None else drawn[0]
            rollout, _ = collector.collect(params, jax.random.fold_in(key, time), length=1)
            frames.append(_seen(rollout.inputs.obs) if frame is None else np.asarray(frame))
            if np.all(rollout.last):
                break
    finally:
        envs.close()
    return np.stack(frames)


def _seen(obs: Any) -> np.ndarray:
    """The last plane of observations [1, 1, K, H, W], in grey: [H, W, 3] uint8."""
    if np.ndim(obs) != 5 or obs.dtype != np.uint8:
        raise ValueError("it draws no pictures")
    return np.repeat(obs[0, 0, -1, :, :, None], 3, axis=-1)


def _round(
    envs: VectorEnv, agent: Agent, params: Params, key: Key, max_steps: int, greedy: bool
) -> Scores:
    """The first episode of every row after a reset."""
    seed_key, key = jax.random.split(key)
    collector = Collector(envs, agent, seed=env_seed(int(jax.random.bits(seed_key))))
    n, time = envs.num_envs, 0
    zeros: list[Any] = [np.zeros(n, dtype) for dtype in (np.float32, np.int32, bool, bool)]
    scores = Scores(*zeros)
    while time < max_steps and not np.all(scores.finished):
        chunk_key = jax.random.fold_in(key, time)
        rollout, _ = collector.collect(params, chunk_key, length=_CHUNK, greedy=greedy)
        last: Any = rollout.last
        counts = (np.cumsum(last, axis=1) - last == 0) & ~scores.finished[:, None]  # [N, T]
        scores = Scores(
            scores.ret + (rollout.reward * counts).sum(axis=1, dtype=np.float32),
            scores.length + counts.sum(axis=1, dtype=np.int32),
            scores.terminated | (counts & rollout.terminated).any(axis=1),
            scores.finished | (counts & last).any(axis=1),
        )
        time += _CHUNK
    return scores
