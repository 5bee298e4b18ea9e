"""A rule of one's own, whose hyperparameters are tuned online, by meta-gradients and by BMG.

python examples/tune_own_rule.py schedules.png
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

import metarl
from metarl.agents.mlp import mlp
from metarl.inner import birth
from metarl.meta import bmg, matching, metagrad
from metarl.meta.bijections import sigmoid, softplus
from metarl.meta.common import meta_adam
from metarl.meta.objectives import policy_gradient
from metarl.meta.tune import tune
from metarl.ops.distributions import policy
from metarl.rollout import replay, vectorize
from metarl.rules.common import actor_critic_heads, adam, from_loss
from metarl.train import meta_train


# [rule]
class Hypers(struct.PyTreeNode):
    """All that could be tuned, as leaves."""

    discount: jax.Array
    entropy_cost: jax.Array
    learning_rate: jax.Array


def loss(agent, eta, params, rollout):
    """A one-step actor-critic on one stream [T]; eta's gradient passes through the targets."""
    now, after = replay(agent, params, rollout)
    value, future = now["value"][..., 0], jax.lax.stop_gradient(after["value"][..., 0])
    target = rollout.reward + eta.discount * (1 - rollout.terminated) * future
    pi = policy(now)
    score = pi.log_prob(rollout.action) * (target - jax.lax.stop_gradient(value))
    errors = jnp.square(value - target) / 2
    entropy = jnp.mean(pi.entropy())
    return jnp.mean(errors - score) - eta.entropy_cost * entropy, {"entropy": entropy}


def schedules(updates):
    """Metrics [updates] of both outer loops over the same four learners of Catch."""
    env = metarl.make("Catch-v0")
    heads = actor_critic_heads(env)
    agent = mlp(env, heads, hidden=(32,))
    start = Hypers(jnp.float32(0.7), jnp.float32(0.1), jnp.float32(3e-3))
    rule = from_loss(partial(loss, agent), adam(), heads=heads, init_eta=lambda key: start)
    rule = tune(rule, discount=sigmoid(), entropy_cost=softplus(0.1))
    inner = (agent, rule, vectorize(env, num_envs=16))
    born = partial(birth, *inner, env.default_params())
    learners = jax.jit(jax.vmap(born))(jax.random.split(jax.random.key(0), 4))
    outer = policy_gradient(agent, discount=0.99, lambda_=0.9, entropy_cost=0.01)
    ahead = bmg.objective_step(outer, adam(), learning_rate=3e-3)
    loops = {
        "meta-gradient": metagrad.metagrad(*inner, outer, meta_adam(0.02), length=9),
        "BMG": bmg.bmg(*inner, matching.kl(agent), ahead, meta_adam(0.02), length=9),
    }
    run = partial(meta_train, learners=learners, key=jax.random.key(1), updates=updates)
    return {name: jax.jit(partial(run, meta))()[2] for name, meta in loops.items()}
    # [end]


def main(path: str, updates: int = 500) -> None:
    """Draws what was tuned, and the returns, against meta-updates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    names = ("tuned/discount", "tuned/entropy_cost", "episode_return")
    for axes, name in zip(figure.subplots(1, 3), names, strict=True):
        axes.set(title=name, xlabel="meta-updates")
    for loop, metrics in schedules(updates).items():
        for axes, name in zip(figure.axes, names, strict=True):
            axes.plot(metrics[name], label=loop)
        print(loop, {name: f"{float(metrics[name][-1]):.3f}" for name in names})
    figure.axes[0].legend()
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "schedules.png")
