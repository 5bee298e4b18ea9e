"""Which of its inputs a learned rule listens to, on experience of real lives.

An input counts by the mean absolute derivative of what the network says at a step in the input of
the same step, times the input's standard deviation over the experience.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl.build import Parts
from metarl.inspection.drift import drift_function, slope
from metarl.inspection.lives import Moment
from metarl.inspection.probe import ETA
from metarl.inspection.targets import disco_seen, taken_probability, told
from metarl.nets import disco as disco_nets
from metarl.nets import lpg as lpg_nets
from metarl.ops.distributions import policy
from metarl.ops.statistics import standardised
from metarl.rollout import replay_streams
from metarl.rules import lpg
from metarl.rules.proximal import prepare

STREAMS = 16  # of each moment, at most


class Inputs(NamedTuple):
    """Sensitivities of one output of a network, or several, to its F inputs."""

    names: tuple[str, ...]
    std: np.ndarray  # [F] of the input
    derivative: dict[str, np.ndarray]  # output -> [F] mean absolute derivative

    def scaled(self, output: str) -> np.ndarray:
        """[F] derivative times standard deviation."""
        return self.derivative[output] * self.std


def inputs_of(rule: str, parts: Parts, moments: Sequence[Moment]) -> Inputs | None:
    """Sensitivities of the network of a learned rule, or of the surrogate of PPO's relatives.

    Args:
      rule: by its name in the registry.
      parts: of the lives.
      moments: of them; their experience is pooled.
    """
    few = [m._replace(rollout=jax.tree.map(lambda x: x[:STREAMS], m.rollout)) for m in moments]
    if rule in ("lpg", "ta_lpg"):
        return _lpg(rule, parts, few)
    if rule == "disco":
        return _disco(parts, few)
    return _surrogate(rule, parts, few)


def same_step(say: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """[N, T, F], the derivative of `say(x [N, T, F]) -> [N, T]` at each step in that step's x.

    In reverse mode, once for each step, since not every network has a forward one.
    """
    out, pull = jax.vjp(say, x)

    def one(t: jax.Array) -> jax.Array:
        cotangent = jnp.zeros_like(out).at[:, t].set(1)
        return pull(cotangent)[0][:, t]

    return jnp.moveaxis(jax.lax.map(one, jnp.arange(out.shape[1])), 0, 1)


def _lpg(rule: str, parts: Parts, moments: Sequence[Moment]) -> Inputs:
    fields: Any = parts.config.rule.fields
    eta = parts.eta(jax.random.key(ETA))

    def look(moment: Moment) -> tuple[jax.Array, dict[str, jax.Array]]:
        time = told(rule, fields, moment.before.rule_state)
        seen = lpg.see(parts.agent, moment.before.params, moment.rollout, time)
        x = lpg_nets.features(eta["embed"], seen)
        say = lambda x: lpg_nets.targets_of(eta, x, seen.last, core=fields["core"])  # noqa: E731
        predicted = jax.lax.map(
            lambda i: jnp.abs(same_step(lambda x: say(x).y_hat[..., i], x)),
            jnp.arange(fields["targets"]),
        )
        return x, {
            "target of the policy": jnp.abs(same_step(lambda x: say(x).pi_hat, x)),
            "target of y": predicted.mean(axis=0),
        }

    names: tuple[str, ...] = ("reward", "terminated", "probability", "y", "next y")
    if rule == "ta_lpg":
        names += ("n", "N") if fields["as_released"] else ("n/N", "log N")
    return _pooled(names, look, moments)


def _disco(parts: Parts, moments: Sequence[Moment]) -> Inputs:
    eta = parts.eta(jax.random.key(ETA))

    def look(moment: Moment) -> tuple[jax.Array, dict[str, jax.Array]]:
        learner, rollout = moment.before, moment.rollout
        seen, state = disco_seen(parts.agent, learner.params, learner.rule_state, rollout)
        x, actions = disco_nets.features(eta["embed"], seen)

        def say(x: jax.Array) -> jax.Array:
            own = (eta, state.memory, x, actions, seen.terminated)
            return taken_probability(disco_nets.targets_of(*own)[0].pi, rollout)

        return x, {"target of the policy": jnp.abs(same_step(say, x))}

    return _pooled(disco_nets.NAMES, look, moments)


def _surrogate(rule: str, parts: Parts, moments: Sequence[Moment]) -> Inputs | None:
    """Of the slope by which the surrogate pushes log-probabilities, where the passes end."""
    eta = parts.eta(jax.random.key(ETA))
    function = drift_function(rule, parts.config.rule.fields, eta)
    if function is None:
        return None
    numbers = (lambda state: state.numbers) if "lpo" in rule else (lambda state: eta)
    pushed = slope(function)

    def look(moment: Moment) -> tuple[jax.Array, dict[str, jax.Array]]:
        state, rollout = moment.before.rule_state, moment.rollout
        batch = prepare(parts.agent, numbers(state), moment.before.params, rollout)
        adv = standardised(batch.adv)
        heads = replay_streams(parts.agent, moment.after.params, rollout)
        log_prob = policy(heads).log_prob(rollout.action).reshape(batch.log_prob.shape)
        time = state.clock.relative if rule == "ta_lpo" else jnp.zeros(())
        x = jnp.stack([log_prob - batch.log_prob, adv, jnp.broadcast_to(time, adv.shape)])
        derivatives = jax.jacfwd(lambda x: pushed(*x), argnums=0)
        each = jax.vmap(derivatives, in_axes=1)(x.reshape(3, -1))  # [R, 3]
        return x.reshape(3, -1).T, {"push": jnp.abs(each)}

    names = ("log ratio", "advantage") + (("n/N",) if rule == "ta_lpo" else ())
    return _pooled(names, look, moments)


def _pooled(
    names: tuple[str, ...],
    look: Callable[[Moment], tuple[jax.Array, dict[str, Any]]],
    moments: Sequence[Moment],
) -> Inputs:
    """Over all moments, from inputs and absolute derivatives [..., F or more] of each."""
    count, seeing = len(names), jax.jit(look)
    found = [jax.device_get(seeing(moment)) for moment in moments]
    rows = lambda x: x.reshape(-1, x.shape[-1])[:, :count]  # noqa: E731
    std = np.concatenate([rows(x) for x, _ in found]).std(axis=0)
    outputs = found[0][1]
    return Inputs(
        names,
        std,
        {k: np.concatenate([rows(d[k]) for _, d in found]).mean(axis=0) for k in outputs},
    )
