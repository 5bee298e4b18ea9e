"""Every type and protocol of the house, and its glossary. Imports nothing from metarl.

Shapes are written for one environment and one agent: `[T, ...]` is time-major. A caller who wants
more adds axes with `jax.vmap`: `N` environments of one learner, `A` learners, seeds, tasks.

Words, used everywhere and no others:
  eta: meta-parameters, what an outer loop learns; for a fixed rule its hyperparameters.
  params: an agent's parameters (theta), or an environment's dynamic settings (`env_params`).
  rule: how an agent learns from experience.  learner: one life in progress.
  population: `A` learners that share eta.
  act: collect experience.  live: act and learn in turns.  replay: the heads along a rollout.
  carry: an agent's memory.  first: this step opens an episode.
  terminated: the task ended, the future is worth nothing.  truncated: only the clock ran out.
  level: one start of a procedurally generated task.  trial: several episodes of one task.
  obs, adv, env, ts: observation, advantage, environment, time step.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
from flax import struct
from gymnasium.spaces import Space

Key = jax.Array  # a typed key (`jax.random.key`); whoever receives it consumes it exactly once
PyTree = Any
Params = PyTree
Eta = PyTree
Heads = dict[str, jax.Array]  # what an agent says at one step: {"logits": [A], "value": [1]}
Metrics = dict[str, jax.Array]

S = TypeVar("S")
P = TypeVar("P")


class TimeStep(struct.PyTreeNode):
    """What an environment shows after `reset` or `step`."""

    obs: PyTree
    reward: jax.Array  # [] float32
    terminated: jax.Array  # [] bool, the task ended: the future is worth 0
    truncated: jax.Array  # [] bool, the clock ran out: the future is worth V(obs)
    action_mask: jax.Array | None = None  # [A] bool, legal actions; None: all of them
    info: dict[str, jax.Array] = struct.field(default_factory=dict)

    @property
    def last(self) -> jax.Array:
        """Whether the episode is over, for either reason."""
        return self.terminated | self.truncated


class Environment(Protocol[S, P]):
    """A stateless environment: a frozen dataclass of static sizes with pure methods.

    What fixes a shape or a branch is a field (hashable by value, so equal environments share one
    compiled programme). Every number is a leaf of `params`, which `vmap` can batch. Environments
    never reset themselves and never end an episode twice: `metarl.rollout` resets, and stepping
    past the end is harmless and meaningless.

    Three more methods are optional. `observe(state, params) -> (obs, action_mask)` lets a
    vectorised step observe once, after any reset, instead of twice. `render(state, params)`
    returns a uint8 `[H, W, 3]` picture inside jit, `render_text(state, params)` a string.
    """

    @property
    def observation_space(self) -> Space:
        """Shape, dtype and bounds of `TimeStep.obs`."""
        ...

    @property
    def action_space(self) -> Space:
        """`Discrete(A)`, or a one-dimensional `Box`.

        A Gaussian policy samples outside a box now and then. `step` clips such actions; nothing
        else does. The rollout keeps what was sampled, so that its density is the policy's own.
        """
        ...

    def default_params(self) -> P:
        """The published setting of the task."""
        ...

    def reset(self, key: Key, params: P) -> tuple[S, TimeStep]:
        """Starts an episode. The key is consumed."""
        ...

    def step(self, key: Key, state: S, action: jax.Array, params: P) -> tuple[S, TimeStep]:
        """Advances one step. The key is consumed."""
        ...


class AgentInput(struct.PyTreeNode):
    """All that an agent may condition on at one step, so that memory agents need no wrapper."""

    obs: PyTree
    prev_action: jax.Array  # [] int32, or the shape of a Box action; zeros at birth
    prev_reward: jax.Array  # [] float32
    first: jax.Array  # [] bool, true on the first step of an episode
    action_mask: jax.Array | None = None  # [A] bool; None: every action is legal


class Agent(NamedTuple):
    """A policy network as pure functions; its heads are those a rule asked for.

    `unroll` is for agents that a whole stream passes faster than its steps one by one or, without
    a memory, all at once: from inputs [T, ...] to heads [T, ...] and the memory behind them, what
    `apply` repeated computes. `watch` is what to log of memories [N, ...]. `units` is for
    optimizers that listen to how active units are: from inputs without a memory to a tree like
    params, with the activations [width] of the units that the weights and biases of each leaf lead
    to.
    """

    init: Callable[[Key], Params]
    carry: Callable[[], PyTree]  # memory at birth; () for feed-forward agents
    apply: Callable[[Params, PyTree, AgentInput], tuple[Heads, PyTree]]
    unroll: Callable[[Params, PyTree, AgentInput], tuple[Heads, PyTree]] | None = None
    watch: Callable[[PyTree], Metrics] | None = None
    units: Callable[[Params, AgentInput], PyTree] | None = None


class Rollout(struct.PyTreeNode):
    """`T` consecutive steps of one agent in one environment; every leaf but `carry` is `[T, ...]`.

    `heads` are the agent's own words when it acted: the behaviour policy, for rules that need it.
    """

    inputs: AgentInput
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    next_inputs: AgentInput  # the true successor, before any reset: bootstrap from here
    heads: Heads
    carry: PyTree  # memory before the first step

    @property
    def last(self) -> jax.Array:
        """[T] bool, whether the episode ended with this step, for either reason."""
        return self.terminated | self.truncated


class UpdateRule(NamedTuple):
    """How an agent learns from experience; the thing meta-learning discovers.

    `(init, update)` is shaped like an optax transformation. `update` sees a batch of streams,
    rollout leaves `[N, T, ...]`, and must be differentiable in `eta`. Its key serves minibatch
    shuffles and noise; most rules ignore it.

    `update_lives` is for rules of which many lives learn faster together: what `vmap` of `update`
    over all but eta computes. Whoever replaces `update` replaces it too, with None if need be; call
    it through `metarl.inner.learn_lives`.
    """

    heads: Mapping[str, int]  # name -> width of every head the agent must have
    init_eta: Callable[[Key], Eta]
    init: Callable[[Params], PyTree]
    update: Callable[[Eta, Params, PyTree, Rollout, Key], tuple[Params, PyTree, Metrics]]
    update_lives: Callable[..., tuple[Params, PyTree, Metrics]] | None = None


class VectorState(struct.PyTreeNode):
    """`N` environments in progress (`metarl.rollout.vectorize`)."""

    env: PyTree  # [N, ...] the environments' own states
    inputs: AgentInput  # [N, ...] what to act on next, after any reset
    starts: PyTree  # the reset strategy's own state


class EpisodeStats(struct.PyTreeNode):
    """Sums over the episode in progress."""

    ret: jax.Array  # [N] float32, undiscounted return so far
    length: jax.Array  # [N] int32, steps so far


class Learner(struct.PyTreeNode):
    """One agent in the middle of its life: the carry of the inner loop."""

    params: Params
    rule_state: PyTree
    env_params: PyTree
    env_state: VectorState  # [N, ...]
    carry: PyTree  # [N, ...] the agent's memory
    episode: EpisodeStats  # [N]
    age: jax.Array  # [] int32, number of updates so far
    life: jax.Array  # [] int32, lives that ended before it in its place of a population


class MetaLearner(NamedTuple):
    """An outer loop: `update` moves eta, and the population of learners with it.

    Learners are `[A, ...]`. `init` sees them, since some loops remember something of each. The key
    of `update` is that of the whole run, like that of `live`: the same at every call.
    """

    init: Callable[[Key, Learner], PyTree]
    update: Callable[[PyTree, Learner, Key], tuple[PyTree, Learner, Metrics]]
