"""PPO on an environment of Gymnasium's, stepped on the host.

python examples/gymnasium_cartpole.py

`metarl train gym/CartPole-v1` does the same from the command line.
"""

import gymnasium
import jax

from metarl import host
from metarl.agents.mlp import mlp
from metarl.rules import ppo


def main(updates: int = 240) -> float:
    """Trains for `updates` times 512 steps; returns the mean return of 20 greedy episodes."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=16)
    env = host.HostEnv.of(envs)
    agent = mlp(env, ppo.heads(env))
    rule = ppo.ppo(agent, ppo.heads(env))
    eta = ppo.hypers(learning_rate=2.5e-3, discount=0.98, entropy_cost=0.0)

    def report(update, metrics):
        if update % 40 == 0:
            print(f"update {update}: return {metrics['episode_return']:.0f}")

    learner, _ = host.train(
        envs, agent, rule, updates=updates, length=32, seed=0, eta=eta, report=report
    )
    scores = host.evaluate(envs, agent, learner.params, jax.random.key(1), episodes=20, greedy=True)
    envs.close()
    print("mean return of 20 episodes:", scores.ret.mean(), "(best: 500)")
    return float(scores.ret.mean())


if __name__ == "__main__":
    main()
