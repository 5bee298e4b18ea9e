"""Two colours, actor-critic, meta-gradients and BMG in one file: what `benchmarks/bmg.py` measures.

Written as a careful person would by hand, for this task alone: seeds are vmapped, random numbers of
a rollout are drawn at once, two per step, no part serves anything else.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Config(NamedTuple):
    """Sizes and numbers, those of the recipe."""

    size: int = 3
    flip_period: int = 30_000
    hidden: int = 64
    length: int = 16
    learning_rate: float = 0.1
    discount: float = 0.99
    value_cost: float = 0.1
    entropy_cost: float = 0.3
    outer_entropy_cost: float = 0.1
    meta_learning_rate: float = 1e-3
    updates: int = 6  # K
    bootstrap: int = 9  # L


class Life(NamedTuple):
    """One learner."""

    params: Any
    cells: jax.Array  # [3] agent, first and second object
    time: jax.Array
    rewards: jax.Array  # [10] of the last rollouts
    key: jax.Array


def layers(key: jax.Array, *sizes: int) -> list[dict[str, jax.Array]]:
    """Dense layers."""
    keys = jax.random.split(key, len(sizes) - 1)
    init = jax.nn.initializers.he_normal()
    return [
        {"w": init(k, (a, b)), "b": jnp.zeros(b)}
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def forward(net: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    """ReLU behind every layer but the last."""
    for layer in net[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ net[-1]["w"] + net[-1]["b"]


def observe(config: Config, cells: jax.Array) -> jax.Array:
    """[..., 3] -> [..., 6 size] one-hot rows and columns."""
    places = jnp.stack([cells // config.size, cells % config.size], axis=-1)
    hot = jax.nn.one_hot(places, config.size)
    return hot.reshape(*cells.shape[:-1], -1)


def env_step(config: Config, cells: jax.Array, time: jax.Array, action: jax.Array, u: jax.Array):
    """One move; `u` in [0, 1) places the object that was touched."""
    size = config.size
    row, column = cells[0] // size, cells[0] % size
    row = jnp.clip(row + jnp.array([-1, 0, 1, 0])[action], 0, size - 1)
    column = jnp.clip(column + jnp.array([0, 1, 0, -1])[action], 0, size - 1)
    agent = row * size + column
    touched = agent == cells[1:]  # [2]
    sign = jnp.where(time // config.flip_period % 2 == 0, 1.0, -1.0)
    reward = jnp.where(touched[0], sign, jnp.where(touched[1], -sign, -0.04))
    other = jnp.where(touched[0], cells[2], cells[1])
    low, high = jnp.minimum(agent, other), jnp.maximum(agent, other)
    fresh = (u * (size**2 - 2)).astype(jnp.int32)
    fresh = fresh + (fresh >= low)
    fresh = fresh + (fresh >= high)
    objects = jnp.where(touched, fresh, cells[1:])
    return jnp.concatenate([agent[None], objects]), time + 1, reward


def rollout(config: Config, life: Life) -> tuple[Life, tuple]:
    """`length` steps: observations [T + 1, O], actions and rewards [T]."""
    key, draw_key = jax.random.split(life.key)
    uniforms = jax.random.uniform(draw_key, (config.length, 2))
    params = jax.lax.stop_gradient(life.params)

    def step(loop: tuple, u: jax.Array):
        cells, time = loop
        obs = observe(config, cells)
        probs = jax.nn.softmax(forward(params["policy"], obs))
        action = jnp.minimum(jnp.sum(jnp.cumsum(probs) <= u[0]), 3)
        cells, time, reward = env_step(config, cells, time, action, u[1])
        return (cells, time), (obs, action, reward)

    (cells, time), (obs, action, reward) = jax.lax.scan(step, (life.cells, life.time), uniforms)
    obs = jnp.concatenate([obs, observe(config, cells)[None]])
    rewards = jnp.append(life.rewards[1:], reward.mean())
    life = life._replace(cells=cells, time=time, key=key, rewards=rewards)
    return life, (obs, action, reward)


def policy_loss(config: Config, params: Any, batch: tuple, entropy_cost: Any):
    """The policy's part, and the advantages as the critic sees them."""
    obs, action, reward = batch
    value = forward(params["value"], obs)[:, 0]
    adv = reward + config.discount * jax.lax.stop_gradient(value[1:]) - value[:-1]
    log_probs = jax.nn.log_softmax(forward(params["policy"], obs[:-1]))
    chosen = jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0]
    entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=1).mean()
    return -jnp.mean(chosen * jax.lax.stop_gradient(adv)) - entropy_cost * entropy, adv


def update(config: Config, life: Life, batch: tuple, entropy_cost: Any) -> Life:
    """One step of gradient descent on the actor-critic's loss."""

    def loss(params: Any) -> jax.Array:
        value, adv = policy_loss(config, params, batch, entropy_cost)
        return value + config.value_cost * jnp.mean(adv**2)

    grads = jax.grad(loss)(life.params)
    params = jax.tree.map(lambda p, g: p - config.learning_rate * g, life.params, grads)
    return life._replace(params=params)


def turns(config: Config, life: Life, eta: Any, count: int) -> tuple[Life, jax.Array]:
    """`count` times: act, then learn; rewards [count]."""

    def turn(life: Life, _: None):
        life, batch = rollout(config, life)
        cost: Any = config.entropy_cost
        if eta is not None:
            cost = jax.nn.sigmoid(forward(eta, jax.lax.stop_gradient(life.rewards))[0])
        return update(config, life, batch, cost), batch[2].mean()

    return jax.lax.scan(turn, life, None, length=count)


def mg_loss(config: Config, eta: Any, life: Life):
    """The outer loss after K updates, on the next experience."""
    life, rewards = turns(config, life, eta, config.updates)
    _, batch = rollout(config, life)
    loss, _ = policy_loss(config, life.params, batch, config.outer_entropy_cost)
    return loss, (life, rewards)


def bmg_loss(config: Config, eta: Any, life: Life):
    """KL from the target, L updates away, to the policy after K updates."""
    life, rewards = turns(config, life, eta, config.updates)
    ahead, more = turns(config, jax.lax.stop_gradient(life), eta, config.bootstrap - 1)
    _, batch = rollout(config, ahead)
    grads = jax.grad(lambda p: policy_loss(config, p, batch, 0.0)[0])(ahead.params)
    target = jax.tree.map(lambda p, g: p - config.learning_rate * g, ahead.params, grads)
    goal, here = (
        jax.nn.log_softmax(forward(p["policy"], batch[0][:-1])) for p in (target, life.params)
    )
    goal = jax.lax.stop_gradient(goal)
    kl = jnp.sum(jnp.exp(goal) * (goal - here), axis=1).mean()
    return kl, (jax.lax.stop_gradient(ahead), jnp.append(rewards, more))


def born(config: Config, key: jax.Array) -> Life:
    """A new-born learner."""
    policy_key, value_key, life_key = jax.random.split(key, 3)
    inputs, hidden = 6 * config.size, (config.hidden, config.hidden)
    params = {
        "policy": layers(policy_key, inputs, *hidden, 4),
        "value": layers(value_key, inputs, *hidden, 1),
    }
    cells = jnp.array([0, 1, 2], jnp.int32)
    return Life(params, cells, jnp.int32(0), jnp.zeros(10), life_key)


def make_train(config: Config, kind: str, rounds: int) -> Any:
    """`train(key) -> (last life, rewards)`; `kind` is ac, mg or bmg."""
    optimizer = optax.adam(config.meta_learning_rate, eps=1e-4)
    loss = {"mg": mg_loss, "bmg": bmg_loss}.get(kind)

    def train(key: jax.Array) -> tuple[Life, jax.Array]:
        life_key, eta_key = jax.random.split(key)
        life = born(config, life_key)
        if loss is None:
            return turns(config, life, None, rounds)
        eta = layers(eta_key, 10, 32, 1)

        def step(loop: tuple, _: None):
            eta, state, life = loop
            grads, (life, rewards) = jax.grad(loss, argnums=1, has_aux=True)(config, eta, life)
            steps, state = optimizer.update(grads, state, eta)
            return (optax.apply_updates(eta, steps), state, life), rewards

        loop, rewards = jax.lax.scan(step, (eta, optimizer.init(eta), life), None, length=rounds)
        return loop[2], rewards

    return train


def products(config: Config, rounds: int) -> Any:
    """`run(key) -> numbers`: the matrix products of the plain actor-critic, and nothing else.

    They cannot be left out: each takes its first factor from the product before it. A round is one
    update: `length` passes of the policy over one observation, then one pass of both networks over
    all of them and what reverse mode multiplies for it.
    """
    inputs = 6 * config.size

    def run(key: jax.Array) -> jax.Array:
        life = born(config, key)
        rows = jax.random.normal(key, (config.length + 1, inputs))

        def net(layers: Any, x: jax.Array) -> jax.Array:
            return x @ layers[0]["w"] @ layers[1]["w"] @ layers[2]["w"]

        def turn(x: jax.Array, _: None):
            def step(row: jax.Array, _: None):
                return row + net(life.params["policy"], row)[0] * 1e-9, None

            row, _ = jax.lax.scan(step, x[0], None, length=config.length)
            total = jnp.float32(0)
            for layers in life.params.values():
                first = (x + row) @ layers[0]["w"]
                second = first @ layers[1]["w"]
                out = second @ layers[2]["w"]
                back = out @ layers[2]["w"].T
                back_first = back @ layers[1]["w"].T
                grads = (x.T @ back_first, first.T @ back, second.T @ out)
                total += sum(g[-1, -1] for g in grads)
            return x + total * 1e-9, None

        return jax.lax.scan(turn, rows, None, length=rounds)[0]

    return run
