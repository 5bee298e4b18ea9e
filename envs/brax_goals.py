"""Run at a hidden speed or in a hidden direction: the meta-RL tasks of half-cheetah and ant.

The tasks, and the numbers of their rewards, are those of MAML (Finn et al. 2017,
https://arxiv.org/abs/1703.03400) and its published code, in Brax's bodies instead of MuJoCo's:

  half-cheetah, velocity   -|v - goal| - 0.05 |a|^2               goal uniform in 0..2 m/s
  half-cheetah, direction  goal * v - 0.05 |a|^2                  goal -1 or 1
  ant, velocity            1 - |v - goal| + 0.05 - 0.005 |a|^2    goal uniform in 0..3 m/s
  ant, direction           goal * v + 0.05 - 0.005 |a|^2          goal -1 or 1

with the horizon 200 and, for the ant, the end of the task when the height of its torso leaves
0.2..1. What differs from the originals: `v` is the torso's displacement along x over a step, as in
Brax, not the velocity of the centre of mass; the ant's cost of contact (0.0005 |force|^2) is left
out, since Brax reports no contact forces; masses, gears, friction and observations are Brax's. So
returns do not compare with those published for MuJoCo.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metarl.envs.brax import Brax, load
from metarl.envs.splits import check_split, draw_level
from metarl.ops import keys
from metarl.types import Key, PyTree

TASKS = ("velocity", "direction")
_FASTEST = {"halfcheetah": 2.0, "ant": 3.0}  # metres a second
_CONTROL_COST = {"halfcheetah": 0.05, "ant": 0.005}
_ALIVE = {"halfcheetah": (0.0, 0.0), "ant": (1.05, 0.05)}  # by task


class Params(struct.PyTreeNode):
    """Dynamic settings; the goal is the task, and no observation shows it."""

    goal: jax.Array  # [] float32, metres a second, or the direction: 1 forwards, -1 backwards
    control_cost: jax.Array  # [] float32, times the squared length of the action
    alive_reward: jax.Array  # [] float32, for every step
    max_steps: jax.Array  # [] int32, steps until truncation


@dataclass(frozen=True)
class BraxGoal(Brax):
    """`name` is "halfcheetah" or "ant", `task` "velocity" or "direction"; else as `Brax`.

    `sample_params(key, split)` draws a goal. Speeds are split by a hash of their bits, half of
    them each; of the two directions "train" is forwards and "heldout" backwards.
    """

    name: str = "halfcheetah"
    task: str = "velocity"

    def __post_init__(self):
        super().__post_init__()
        if self.name not in _FASTEST:
            raise ValueError(f"goals are for {tuple(_FASTEST)}, got {self.name!r}")
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, got {self.task!r}")

    def default_params(self) -> Params:
        """Half the highest speed, or forwards; the published numbers and 200 steps."""
        goal = _FASTEST[self.name] / 2 if self.task == "velocity" else 1.0
        return Params(
            goal=jnp.float32(goal),
            control_cost=jnp.float32(_CONTROL_COST[self.name]),
            alive_reward=jnp.float32(_ALIVE[self.name][TASKS.index(self.task)]),
            max_steps=jnp.int32(max(1, 200 // self.action_repeat)),
        )

    def sample_params(self, key: Key, split: str | None = None) -> Params:
        """A goal of the published distribution. The key is consumed."""
        check_split(split)
        if self.task == "velocity":
            fastest = _FASTEST[self.name]
            goal = draw_level(lambda k: fastest * jax.random.uniform(k), key, split)
        elif split is None:
            goal = 1 - 2 * keys.below(keys.words(key, 1)[0], 2).astype(jnp.float32)
        else:
            goal = jnp.float32(1 if split == "train" else -1)
        return self.default_params().replace(goal=goal)

    def reward(self, before: PyTree, after: Any, action: jax.Array, params: Params) -> jax.Array:
        """How near the speed is to the goal, or how fast the goal's way is gone."""
        env = load(self.name, self.backend)
        speed = (after.pipeline_state.x.pos[0, 0] - before.x.pos[0, 0]) / env.dt
        missed = -jnp.abs(speed - params.goal)
        reached = missed if self.task == "velocity" else params.goal * speed
        return reached + params.alive_reward - params.control_cost * jnp.sum(action**2)
