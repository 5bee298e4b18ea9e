"""PPO whose optimizer is one of OPEN's (Goldie et al. 2024, https://arxiv.org/abs/2407.07082).

See `metarl.rules.open`. The optimizer was learned for an actor and a critic apart, knows how much
of the training is over, and how active each unit is on the rows of a minibatch, where the agent
shows its units (`Agent.units`); where it does not, one of the 19 inputs is always 1, which it was
not where the optimizer was learned.
"""

from collections.abc import Mapping
from functools import partial

import jax
import optax

from metarl.nets.heads import POLICY_HEADS
from metarl.rules.authors import find
from metarl.rules.common import actor_critic_heads, check_heads
from metarl.rules.life import LifeState, new_clock, ticked
from metarl.rules.open import CRITIC, dormancy, of_critic, open_optimizer, read_open
from metarl.rules.ppo import Hypers, ppo_loss
from metarl.rules.ppo import hypers as ppo_hypers
from metarl.rules.proximal import Batch, passes, prepare
from metarl.types import Agent, Key, Params, Rollout, UpdateRule

ACTOR = ("policy", *POLICY_HEADS)  # in the paths of its params

heads = actor_critic_heads
hypers = partial(ppo_hypers, learning_rate=1.0)


def open_ppo(
    agent: Agent,
    heads: Mapping[str, int],
    *,
    weights: str = "",
    eta: Hypers | None = None,
    lifetime: int = 1000,
    epochs: int = 4,
    minibatches: int = 4,
) -> UpdateRule:
    """Builds the rule: `epochs` passes over the rollout in shuffled minibatches.

    Args:
      agent: whose `params` are learned; actor and critic must be apart, as of the agent `mlp` with
        `separate=True`: the paths of the critic's params have `value` in them.
      heads: as declared by `heads(env)`.
      weights: the optimizer's: a path, or a name such as `open-ant` for the file in the folder that
        the environment variable METARL_OPEN names.
      eta: PPO's numbers, what `init_eta` returns; its learning rate multiplies the steps, by
        default 1.
      lifetime: updates of the whole training, at birth; the state's `clock` has it, and may be
        given another.
      epochs, minibatches: as of `metarl.rules.ppo.ppo`.

    Raises:
      ValueError: no such weights, or a lifetime without updates; in `init`, layers that actor and
        critic share; in `update`, while tracing, if `minibatches` does not divide the rows.
    """
    net, chosen = read_open(find(weights)), eta or hypers()

    def optimizer(key: Key, updates: int | jax.Array) -> optax.GradientTransformation:
        sizes = {"epochs": epochs, "minibatches": minibatches}
        return open_optimizer(net, key=key, updates=updates, **sizes)

    def tell(params: Params, rows: Batch) -> dict[str, Params]:
        if agent.units is None:
            return {}
        shown = jax.vmap(agent.units, in_axes=(None, 0))(params, rows.rollout.inputs)
        return {"dormancy": jax.tree.map(dormancy, shown)}

    def init(params: Params) -> LifeState:
        check_apart(params)
        clock = new_clock(lifetime)
        return LifeState(optimizer(jax.random.key(0), lifetime).init(params), (), clock)

    def update(eta: Hypers, params: Params, state: LifeState, rollout: Rollout, key: Key):
        check_heads(rollout.heads, heads, "open_ppo")
        assert state.clock is not None
        pass_key, noise_key = jax.random.split(key)
        params, opt_state, metrics = passes(
            lambda params, batch: ppo_loss(agent, eta, params, batch),
            optimizer(noise_key, state.clock.lifetime),
            eta.learning_rate,
            (params, state.optimizer),
            prepare(agent, eta, params, rollout),
            pass_key,
            epochs=epochs,
            minibatches=minibatches,
            tell=tell,
        )
        return params, LifeState(opt_state, (), ticked(state.clock)), metrics

    return UpdateRule(heads, lambda key: chosen, init, update)


def check_apart(params: Params) -> None:
    """Raises ValueError where layers are neither the actor's nor the critic's alone."""
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        if of_critic(path) or {getattr(entry, "key", None) for entry in path} & {*ACTOR}:
            continue
        raise ValueError(
            f"OPEN was learned for an actor and a critic apart, but params/"
            f"{jax.tree_util.keystr(path, simple=True, separator='/')} is of neither "
            f"{' or '.join(ACTOR)} nor {CRITIC}: use the agent mlp with separate=true"
        )
