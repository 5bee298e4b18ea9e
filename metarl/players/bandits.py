"""Players of Bernoulli bandits: Thompson sampling, UCB1, the Gittins index, the Bayes optimum.

All but UCB1 start from uniform priors, which is how `Bandit.sample_params` draws arms. In trials
they go on counting across attempts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.special import betainc, betaln

from metarl.envs.bandit import Bandit
from metarl.players import beliefs, gittins
from metarl.players.common import any_best, game_of
from metarl.types import Agent, AgentInput, Environment, Heads


class Counts(struct.PyTreeNode):
    """Of a life so far."""

    paid: jax.Array  # [A] int32, pulls that paid
    not_paid: jax.Array  # [A] int32


def thompson_player(env: Environment, *, pulls: int = 500) -> Agent:
    """Plays each arm with the chance that it is the best one (Thompson 1933).

    These chances, integrals of polynomials, are the player's probabilities: nothing is sampled but
    the action. Exact up to `pulls` pulls.
    """
    arms = game_of(env, Bandit).num_actions
    nodes, weights = np.polynomial.legendre.leggauss((pulls + arms) // 2 + 1)
    nodes, weights = ((nodes + 1) / 2).astype(np.float32), (weights / 2).astype(np.float32)

    def heads(counts: Counts) -> Heads:
        a, b = (1.0 + counts.paid)[:, None], (1.0 + counts.not_paid)[:, None]  # [A, 1]
        density = (a - 1) * jnp.log(nodes) + (b - 1) * jnp.log1p(-nodes) - betaln(a, b)
        below = jnp.log(jnp.maximum(betainc(a, b, nodes), 1e-30))  # [A, M]
        others = below.sum(axis=0) - below
        return {"logits": jax.nn.logsumexp(density + others, axis=1, b=weights)}

    return _player(arms, heads)


def ucb1_player(env: Environment, *, width: float = 2.0) -> Agent:
    """Plays the arm of the highest `mean + sqrt(width * log(t) / n)`, untried ones first.

    Auer et al. 2002, "Finite-time analysis of the multiarmed bandit problem", with width 2.
    """
    arms = game_of(env, Bandit).num_actions

    def heads(counts: Counts) -> Heads:
        tried = counts.paid + counts.not_paid
        safe = jnp.maximum(tried, 1)
        bonus = jnp.sqrt(width * jnp.log(jnp.maximum(tried.sum(), 1)) / safe)
        index = jnp.where(tried == 0, jnp.inf, counts.paid / safe + bonus)
        return any_best(index == index.max())

    return _player(arms, heads)


def gittins_player(env: Environment, *, pulls: int, discount: float | None = None) -> Agent:
    """Plays the arm of the highest Gittins index (`metarl.players.gittins`).

    Args:
      env: a Bernoulli bandit.
      pulls: of a life.
      discount: the optimum for rewards discounted without end; None: for the pulls that are left,
        undiscounted, where the index is a heuristic.

    Raises:
      ValueError: as the tables.
    """
    arms = game_of(env, Bandit).num_actions
    table = gittins.finite(pulls) if discount is None else gittins.discounted(discount, pulls)

    def heads(counts: Counts) -> Heads:
        left = jnp.maximum(pulls - (counts.paid + counts.not_paid).sum(), 1)
        now = jnp.asarray(table)[left] if discount is None else jnp.asarray(table)
        index = now.at[counts.paid, counts.not_paid].get(mode="clip")
        return any_best(index >= index.max() - 1e-6)

    return _player(arms, heads)


def bayes_player(env: Environment, *, pulls: int) -> Agent:
    """Plays an arm that is best for the sum of all rewards, exactly (`metarl.players.beliefs`).

    Raises:
      ValueError: too many arms and pulls for a table.
    """
    arms = game_of(env, Bandit).num_actions
    found = beliefs.optimum(arms, pulls)
    table = beliefs.binomials(pulls, 2 * arms)

    def heads(counts: Counts) -> Heads:
        belief = jnp.stack([counts.paid, counts.not_paid], axis=1).ravel()
        count = jnp.minimum(belief.sum(), pulls - 1)
        row = jnp.asarray(found.start)[count] + beliefs.number(belief, jnp.asarray(table), jnp)
        return any_best(jnp.asarray(found.best).at[row].get(mode="clip"))

    return _player(arms, heads)


def _player(arms: int, heads: Callable[[Counts], Heads]) -> Agent:
    """A player who counts."""

    def carry() -> Counts:
        none = jnp.zeros(arms, jnp.int32)
        return Counts(none, none)

    def apply(params: dict, carry: Counts, inputs: AgentInput) -> tuple[Heads, Counts]:
        del params
        pulled = (jnp.arange(arms) == inputs.prev_action) & ~inputs.first
        paid = inputs.prev_reward > 0
        counts = Counts(
            jnp.where(inputs.first, 0, carry.paid) + (pulled & paid),
            jnp.where(inputs.first, 0, carry.not_paid) + (pulled & ~paid),
        )
        return heads(counts), counts

    return Agent(lambda key: {}, carry, apply)
