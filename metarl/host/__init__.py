"""Any Gymnasium environment under our agents and rules: stepped on the host, learned on the device.

    import gymnasium
    from metarl import host
    envs = gymnasium.make_vec("LunarLander-v3", num_envs=16, vectorization_mode="async")
    env = host.HostEnv.of(envs)  # what agents and rules look at
    agent = mlp(env, ppo.heads(env))
    rule = ppo.ppo(agent, ppo.heads(env))
    learner, metrics = host.train(envs, agent, rule, updates=100, length=128)

or `metarl train gym/LunarLander-v3`. Every vector environment will do, in every autoreset mode.
"""

from metarl.host.collect import Collector, env_seed
from metarl.host.env import HostEnv
from metarl.host.live import birth, live, train
from metarl.host.score import evaluate, pictures

__all__ = [
    "Collector",
    "HostEnv",
    "birth",
    "env_seed",
    "evaluate",
    "live",
    "pictures",
    "train",
]
