"""A plain PPO in one file: the yardstick that `benchmarks/ppo.py` measures metarl against.

Written the way single-file JAX PPOs are: one environment with its auto-reset inside the step, a
flax network over float observations, `[T, N]` transitions, value bootstrapped from the next row
(time limits count as terminations), shuffled minibatches, one scan over updates.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import constant, orthogonal

from metarl.envs.snake import Snake


class Network(nn.Module):
    """Separate tanh towers would double the work; both sides share one here as in metarl."""

    num_actions: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits [..., A] and value [...]."""
        for width in self.hidden:
            x = nn.tanh(nn.Dense(width, kernel_init=orthogonal(2**0.5), bias_init=constant(0))(x))
        logits = nn.Dense(self.num_actions, kernel_init=orthogonal(0.01))(x)
        value = nn.Dense(1, kernel_init=orthogonal(1.0))(x)
        return jnp.where(mask, logits, -1e9), value[..., 0]


class Transition(NamedTuple):
    """One step of `N` environments."""

    obs: jax.Array
    mask: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


class Config(NamedTuple):
    """Sizes and numbers."""

    num_envs: int = 64
    length: int = 64
    updates: int = 100
    epochs: int = 4
    minibatches: int = 4
    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 1e-3
    discount: float = 0.99
    lambda_: float = 0.95
    clip: float = 0.2
    entropy_cost: float = 0.01
    value_cost: float = 0.5


def make_train(env: Snake, config: Config) -> Any:
    """`train(key) -> (params, mean reward [updates])`."""
    env_params = env.default_params()
    network = Network(env.num_actions, config.hidden)
    optimizer = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adam(config.learning_rate, eps=1e-5)
    )

    def view(ts: Any) -> tuple[jax.Array, jax.Array]:
        scale = jnp.asarray(env.observation_space.high, jnp.float32)
        return (ts.obs / scale).reshape(-1), ts.action_mask

    def env_reset(key: jax.Array) -> tuple[Any, tuple]:
        state, ts = env.reset(key, env_params)
        return state, view(ts)

    def env_step(key: jax.Array, state: Any, action: jax.Array) -> tuple:
        step_key, reset_key = jax.random.split(key)
        state, ts = env.step(step_key, state, action, env_params)
        done = ts.last
        pick = lambda a, b: jnp.where(done, a, b)  # noqa: E731
        state, obs = jax.tree.map(pick, env_reset(reset_key), (state, view(ts)))
        return state, obs, ts.reward, done

    def train(key: jax.Array) -> tuple[Any, jax.Array]:
        key, init_key, reset_key = jax.random.split(key, 3)
        env_state, obs = jax.vmap(env_reset)(jax.random.split(reset_key, config.num_envs))
        params = network.init(init_key, *obs)
        loop = (params, optimizer.init(params), env_state, obs, key)
        return _train(config, network, optimizer, jax.vmap(env_step), loop)

    return train


def _train(config: Config, network: Network, optimizer: Any, env_step: Any, loop: Any) -> Any:
    def forward(params: Any, obs: Any) -> Any:
        return network.apply(params, *obs)

    def update(loop: Any, _: None) -> Any:
        params, opt_state, env_state, obs, key = loop

        def act(carry: Any, key: jax.Array) -> Any:
            env_state, obs = carry
            act_key, step_key = jax.random.split(key)
            logits, value = forward(params, obs)
            action = jax.random.categorical(act_key, logits)
            log_prob = jnp.take_along_axis(nn.log_softmax(logits), action[:, None], 1)[:, 0]
            keys = jax.random.split(step_key, config.num_envs)
            env_state, next_obs, reward, done = env_step(keys, env_state, action)
            planes, mask = obs
            step = Transition(planes, mask, action, log_prob, value, reward, done)
            return (env_state, next_obs), step

        key, act_key, shuffle_key = jax.random.split(key, 3)
        (env_state, obs), steps = jax.lax.scan(
            act, (env_state, obs), jax.random.split(act_key, config.length)
        )
        last_value = forward(params, obs)[1]
        adv = _gae(config, steps, last_value)
        batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (steps, adv, adv + steps.value))
        params, opt_state = _epochs(
            config, network, optimizer, params, opt_state, batch, shuffle_key
        )
        return (params, opt_state, env_state, obs, key), steps.reward.mean()

    loop, rewards = jax.lax.scan(update, loop, None, length=config.updates)
    return loop[0], rewards


def _gae(config: Config, steps: Transition, last_value: jax.Array) -> jax.Array:
    def backward(carry: Any, step: Transition) -> Any:
        adv, next_value = carry
        going = 1 - step.done
        delta = step.reward + config.discount * next_value * going - step.value
        adv = delta + config.discount * config.lambda_ * going * adv
        return (adv, step.value), adv

    start = (jnp.zeros_like(last_value), last_value)
    return jax.lax.scan(backward, start, steps, reverse=True)[1]


def _epochs(
    config: Config, network: Network, optimizer: Any, params: Any, opt_state: Any, batch: Any, key
) -> Any:
    size = config.num_envs * config.length

    def loss(params: Any, part: Any) -> jax.Array:
        steps, adv, target = part
        logits, value = network.apply(params, steps.obs, steps.mask)
        log_probs = nn.log_softmax(logits)
        log_prob = jnp.take_along_axis(log_probs, steps.action[:, None], 1)[:, 0]
        ratio = jnp.exp(log_prob - steps.log_prob)
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        policy_loss = -jnp.minimum(ratio * adv, clipped * adv).mean()
        value_loss = jnp.square(value - target).mean() / 2
        entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
        return policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy

    def epoch(loop: Any, key: jax.Array) -> Any:
        order = jax.random.permutation(key, size)
        shuffled = jax.tree.map(lambda x: x[order], batch)
        parts = jax.tree.map(lambda x: x.reshape(config.minibatches, -1, *x.shape[1:]), shuffled)

        def step(loop: Any, part: Any) -> Any:
            params, opt_state = loop
            grads = jax.grad(loss)(params, part)
            steps, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, steps), opt_state), None

        return jax.lax.scan(step, loop, parts)[0], None

    loop, _ = jax.lax.scan(epoch, (params, opt_state), jax.random.split(key, config.epochs))
    return loop
