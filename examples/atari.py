"""PPO on an Atari game, stepped by the emulator's own threads.

pip install "metarl-jax[atari]"; python examples/atari.py MsPacman 1000

The games come with ale-py. This uses its vector environment; single ones with Gymnasium's
`AtariPreprocessing` and `FrameStackObservation` in a `SyncVectorEnv` show the same planes.
"""

import sys
from typing import Any

import ale_py
import gymnasium
import jax

from metarl import host
from metarl.agents.conv import conv
from metarl.rules import ppo

gymnasium.register_envs(ale_py)


def main(game: str = "Pong", updates: int = 100, side: int = 42, longest: int = 3000) -> float:
    """Trains for `updates` times 1024 steps; returns the mean return of `longest` steps' play.

    Frames are shrunk to `side` by `side`: the conv agent keeps the length of its planes, so its
    dense layer grows with their area.
    """
    sizes: dict[str, Any] = {"num_envs": 8, "img_height": side, "img_width": side}
    envs = gymnasium.make_vec(f"ALE/{game}-v5", **sizes)
    env = host.HostEnv.of(envs)
    agent = conv(env, ppo.heads(env), channels=(8,), hidden=128)
    rule = ppo.ppo(agent, ppo.heads(env))

    def report(update, metrics):
        if update % 10 == 0:
            print(f"update {update}: return {metrics['episode_return']:.1f}", flush=True)

    eta = ppo.hypers(learning_rate=5e-4)
    learner, _ = host.train(envs, agent, rule, updates=updates, length=128, eta=eta, report=report)
    key = jax.random.key(1)
    scores = host.evaluate(envs, agent, learner.params, key, episodes=8, max_steps=longest)
    envs.close()
    print(f"mean return of 8 episodes, {longest} steps at most:", scores.ret.mean())
    return float(scores.ret.mean())


if __name__ == "__main__":
    arguments: Any = [*sys.argv[1:2], *map(int, sys.argv[2:])]
    main(*arguments)
