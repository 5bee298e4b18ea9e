"""Our environments for Gymnasium: importing this module registers each as `metarl/<id>`.

    import gymnasium, metarl.gym
    env = gymnasium.make("metarl/Snake-v0", size=6, max_steps=500)       # `metarl.gym.env.GymEnv`
    envs = gymnasium.make_vec("metarl/Snake-v0", num_envs=512, size=6)   # `...vector.GymVectorEnv`

`gymnasium.make("metarl.gym:metarl/Snake-v0")` does without the import. Settings are those of the
command line: static fields of the environment and leaves of its params. Gymnasium allows one slash
in an id, so `brax/ant` becomes `metarl/brax-ant`. Nothing is made, and JAX is not started, before
`make`. Training on Gymnasium's own environments is the business of `metarl.host`.

What users of other JAX suites ask for most, and where it is met:

1. The final observation survives a reset: it is returned (`NEXT_STEP`, `DISABLED`) or lies in
   `infos["final_obs"]` (`SAME_STEP`).
2. `terminated` and `truncated` are apart. No `TimeLimit` is put on top: our environments truncate
   by themselves, at `max_steps`.
3. Resetting is an option: environments never reset themselves, `autoreset_mode="Disabled"` leaves
   it to the caller, row by row.
4. It costs little: a step in which no episode ended resets nothing, and `reset="pool"` takes stored
   starts where starts are slow to make.
5. Every new start is drawn anew, and repeats with the seed.
6. `check_env` of Gymnasium has nothing to say of any id, but that some bounds are infinite or some
   action spaces wider than one.
7. The modes mean what Gymnasium says they mean: a test holds the vector environment to
   `SyncVectorEnv` over single ones, bit for bit, in all three.
8. The functional interface stays below (`metarl.types.Environment`); from above, params come
   with `make` or with `reset(options={"params": ...})`, one task for all rows or one for each.

`AsyncVectorEnv` has nothing to add here; if it must be, give it `context="spawn"`: a process that
has used JAX should not be forked.
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
