"""The same games in other suites, each stepped as that suite means it, auto-reset included.

A suite that is not installed is left out.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from programmes import Programme, below, between
from sokoban_levels import jumanji_sokoban

from metarl.types import Key, PyTree


class Rival(NamedTuple):
    """A counterpart of one of our environments."""

    suite: str
    name: str  # its id there
    length: int = 2**31 - 1  # steps of one scan at most, where a step is very slow


RIVALS = {
    "Acrobot-v0": (Rival("gymnax", "Acrobot-v1"),),
    "Asterix-v0": (Rival("gymnax", "Asterix-MinAtar"), Rival("pgx", "minatar-asterix")),
    "Bandit-v0": (Rival("gymnax", "BernoulliBandit-misc"),),
    "Breakout-v0": (Rival("gymnax", "Breakout-MinAtar"), Rival("pgx", "minatar-breakout")),
    "CartPole-v0": (Rival("gymnax", "CartPole-v1"),),
    "Catch-v0": (Rival("gymnax", "Catch-bsuite"),),
    "DeepSea-v0": (Rival("gymnax", "DeepSea-bsuite"),),
    "DiscountingChain-v0": (Rival("gymnax", "DiscountingChain-bsuite"),),
    "Freeway-v0": (Rival("gymnax", "Freeway-MinAtar"), Rival("pgx", "minatar-freeway")),
    "GaussianBandit-v0": (Rival("gymnax", "GaussianBandit-misc"),),
    "Maze-v0": (Rival("jumanji", "Maze-v0", 16),),
    "Minesweeper-v0": (Rival("jumanji", "Minesweeper-v0"),),
    "MountainCar-v0": (Rival("gymnax", "MountainCar-v0"),),
    "Pendulum-v0": (Rival("gymnax", "Pendulum-v1"),),
    "Seaquest-v0": (Rival("gymnax", "Seaquest-MinAtar", 8), Rival("pgx", "minatar-seaquest", 16)),
    "Snake-v0": (Rival("jumanji", "Snake-v1"),),
    "Sokoban-v0": (Rival("jumanji", "Sokoban-v0"),),
    "SpaceInvaders-v0": (
        Rival("gymnax", "SpaceInvaders-MinAtar"),
        Rival("pgx", "minatar-space_invaders"),
    ),
    "Umbrella-v0": (Rival("gymnax", "UmbrellaChain-bsuite"),),
}


def rivals(name: str, batch: int) -> Iterator[tuple[str, Programme]]:
    """Other suites' ways to step our environment `name`; jumanji's without resets too."""
    for suite, counterpart, length in RIVALS.get(name, ()):
        if importlib.util.find_spec(suite) is None:
            continue
        yield suite, SUITES[suite](counterpart, batch)._replace(length=length)
        if suite == "jumanji":
            yield "jumanji none", jumanji(counterpart, batch, reset=False)


def jumanji(name: str, batch: int, reset: bool = True) -> Programme:
    """Jumanji's, with its own auto-reset or without."""
    import jumanji
    from jumanji.wrappers import VmapAutoResetWrapper, VmapWrapper

    made = jumanji_sokoban() if name.startswith("Sokoban") else jumanji.make(name)
    env = (VmapAutoResetWrapper if reset else VmapWrapper)(made)
    return Programme(
        init=lambda key: env.reset(jax.random.split(key, batch)),
        step=lambda key, carry, actions: env.step(carry[0], actions),
        draw=below(made.action_spec.num_values),
    )


def gymnax(name: str, batch: int) -> Programme:
    """Gymnax's, which always resets itself."""
    import gymnax

    env, params = gymnax.make(name)

    def init(key: Key) -> PyTree:
        obs, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, batch), params)
        # A first step here would be folded at compile time, for minutes, where resets are constant.
        actions = jax.vmap(draw)(jax.random.split(key, batch))
        shapes = jax.eval_shape(step, key, (obs, state), actions)
        rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes[2:])
        return jax.tree.map(lambda x, y: x.astype(y.dtype), (obs, state), shapes[:2]) + rest

    def step(key: Key, carry: PyTree, actions: jax.Array) -> PyTree:
        """The carry is observation, state, reward and both flags."""
        vstep = jax.vmap(env.step, in_axes=(0, 0, 0, None))
        return vstep(jax.random.split(key, batch), carry[1], actions, params)[:5]

    space = env.action_space(params)
    draw = below(space.n) if hasattr(space, "n") else between(*_bounds(space))
    return Programme(init, step, draw)


def pgx(name: str, batch: int) -> Programme:
    """Pgx's with its own auto-reset; the state holds the observation."""
    import pgx
    from pgx.experimental import auto_reset

    env: Any = pgx.make(name)  # type: ignore[arg-type]
    step = jax.vmap(auto_reset(env.step, env.init))
    return Programme(
        init=lambda key: jax.vmap(env.init)(jax.random.split(key, batch)),
        step=lambda key, carry, actions: step(carry, actions, jax.random.split(key, batch)),
        draw=below(env.num_actions),
    )


SUITES: dict[str, Callable[[str, int], Programme]] = {
    "gymnax": gymnax,
    "jumanji": jumanji,
    "pgx": pgx,
}


def _bounds(space: Any) -> Any:
    """Low and high of a gymnax `Box`, [...] float32 each."""
    return (np.broadcast_to(np.float32(x), space.shape) for x in (space.low, space.high))
