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
    """What is to be seen of an episode's first steps: frames [at most steps + 1, H, W, 3] uint8.

    The picture after the last step is not among them: the next episode has begun by then. The key
    is consumed.

    Raises:
      ValueError: the environment draws no pictures, or `env` is not one that can be made again.
    """
    seed_key, key = jax.random.split(key)
    envs = env.vector(1, render_mode="rgb_array")
    try:
        collector = Collector(envs, agent, seed=env_seed(int(jax.random.bits(seed_key))))
        frames = [_picture(envs)]
        for time in range(steps):
            rollout, _ = collector.collect(params, jax.random.fold_in(key, time), length=1)
            if np.all(rollout.last):
                break
            frames.append(_picture(envs))
    finally:
        envs.close()
    return np.stack(frames)


def _picture(envs: VectorEnv) -> np.ndarray:
    """[H, W, 3] uint8, of the first row."""
    shown: Any = envs.render()
    frame = None if shown is None else shown[0]
    if frame is None:
        raise ValueError("it draws no pictures")
    return np.asarray(frame)


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
