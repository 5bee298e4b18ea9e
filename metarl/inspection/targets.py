"""What rules with learned targets say: exactly, from their own networks."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.config import Part
from metarl.inspection.probe import Probe, at_moment, grid, probe, singles
from metarl.nets.disco import disco_net
from metarl.nets.lpg import lpg_net
from metarl.rollout import replay_streams
from metarl.rules import disco, lpg, ta_lpg
from metarl.types import Agent, Params, PyTree, Rollout

WHAT = {
    "lpg": "pi_hat, how much likelier the action should become",
    "ta_lpg": "pi_hat, how much likelier the action should become",
    "disco": "probability that the action should have",
}


class Aims(NamedTuple):
    """The target of the policy after one step, the last of its episode, at K moments of a life."""

    what: str
    reward: np.ndarray  # [R]
    prob: np.ndarray  # [P] of the action taken
    target: np.ndarray  # [K, P, R]


def aims_of(
    rule: str, part: Part, fields: dict[str, Any], moments: Sequence[PyTree | None]
) -> Aims | None:
    """Targets of the rules in `WHAT`; None of another."""
    if rule not in WHAT:
        return None
    where = grid()
    reward, prob = np.meshgrid(where.reward, where.prob)
    own = probe(part, reward.size + 1)
    chosen = jnp.asarray(prob.ravel(), jnp.float32)
    paid = jnp.asarray(reward.ravel(), jnp.float32)
    say = _sayer(rule, fields)

    @jax.jit
    def aimed(blank: Params, moment: PyTree | None) -> jax.Array:
        given = own._replace(blank=blank)
        params, state, rollout = singles(given, chosen, chosen, paid)
        return say(given, params, at_moment(state, moment), rollout)[:, 0]

    found = [np.asarray(aimed(own.blank, moment)) for moment in moments]
    return Aims(WHAT[rule], where.reward, where.prob, np.stack(found).reshape(-1, *reward.shape))


def _sayer(rule: str, fields: dict[str, Any]) -> Callable[..., jax.Array]:
    """`(probe, params, state, rollout) -> [N, T]`."""
    if rule == "disco":

        def aimed(own: Probe, params: Params, state: PyTree, rollout: Rollout) -> jax.Array:
            seen, state = disco_seen(own.agent, params, state, rollout)
            targets = disco_net(own.eta, state.memory, seen)[0]
            return taken_probability(targets.pi, rollout)

        return aimed

    def said(own: Probe, params: Params, state: PyTree, rollout: Rollout) -> jax.Array:
        seen = lpg.see(own.agent, params, rollout, told(rule, fields, state))
        return lpg_net(own.eta, seen, core=fields["core"]).pi_hat

    return said


def disco_seen(agent: Agent, params: Params, state: PyTree, rollout: Rollout) -> tuple[Any, PyTree]:
    """What Disco103's network reads, and the rule's state for it."""
    speak = lambda params: disco.said(replay_streams(agent, params, rollout))  # noqa: E731
    seen, _, later, _ = disco.see(speak(params), speak(state.target), rollout, state)
    return seen, later


def taken_probability(logits: jax.Array, rollout: Rollout) -> jax.Array:
    """[N, T] from a policy's logits [N, T, A], of the actions taken."""
    legal = disco.legal(logits, rollout)
    return disco.taken(jax.nn.softmax(legal), rollout.action[:, : logits.shape[1]])


def told(rule: str, fields: dict[str, Any], state: PyTree) -> jax.Array:
    """What LPG's network is told of the time; [0] where it is not."""
    if rule != "ta_lpg":
        return jnp.zeros(0)
    tell = ta_lpg.raw_times if fields["as_released"] else ta_lpg.times
    return tell(state.clock)
