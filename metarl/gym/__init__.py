"""Our environments for Gymnasium: importing this module registers each as `metarl/<id>`.

    import gymnasium, metarl.gym
    env = gymnasium.make("metarl/Snake-v0", size=6, max_steps=500)       # `metarl.gym.env.GymEnv`
    envs = gymnasium.make_vec("metarl/Snake-v0", num_envs=512, size=6)   # `...vector.GymVectorEnv`

`gymnasium.make("metarl.gym:metarl/Snake-v0")` does without the import. Settings are those of the
command line: static fields of the environment and leaves of its params. Gymnasium allows one slash
in an id, so `brax/ant` becomes `metarl/brax-ant`. Nothing is made, and JAX is not started, before
`make`. Training on Gymnasium's own environments is the business of `metarl.host`.

No `TimeLimit` is put on top: our environments truncate by themselves (`max_steps`) and tell it
apart from a task that ended. Environments do not reset themselves; that is the vector
environment's option `autoreset_mode`, and whatever it is the final observation can be had.
"""

import re

import gymnasium

from metarl import registry

__all__ = ["gym_id", "register_all"]
NAMESPACE = "metarl"


def gym_id(name: str) -> str:
    """The Gymnasium id of the environment called `name`: `metarl/Snake-v0` for `Snake-v0`."""
    return f"{NAMESPACE}/{re.sub(r'[^a-zA-Z0-9_:.-]', '-', name)}"


def register_all() -> None:
    """Registers what is not yet registered; call it again after a `metarl.register` of yours."""
    for name in registry.registered():
        if gym_id(name) not in gymnasium.registry:
            gymnasium.register(
                gym_id(name),
                entry_point="metarl.gym.env:GymEnv",
                vector_entry_point="metarl.gym.vector:GymVectorEnv",
                kwargs={"name": name},
            )


register_all()
