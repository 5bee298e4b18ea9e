"""Minesweeper for trials of a few attempts: small boards, few turns, the opening a gift.

The setting of LaMer's code (Jiang et al. 2025, https://arxiv.org/abs/2512.16848), whose agents are
language models: 6 by 6 cells, 3 mines, 7 turns, and rewards that count an action, not its cells.
Whether the last action pays for its cells beside the win there was not seen; here it does.
"""

from dataclasses import dataclass

import jax.numpy as jnp

from metarl.envs.minesweeper import Minesweeper, Params


@dataclass(frozen=True)
class TrialMinesweeper(Minesweeper):
    """Minesweeper that starts after a random safe action and lasts 7 actions.

    An action that opens one cell gives 0.5, one that opens several 2, and opening the last gives 10
    on top. A mine gives -0.1 and ends the episode; choosing an open cell gives -1 and costs the
    turn, though the mask forbids it. `metarl.wrappers.trial` gives every attempt the same mines and
    the same opening; with `sample_task` and a split no board of the one is met in the other.
    """

    height: int = 6
    width: int = 6
    mines: int = 3
    flood_fill: bool = True
    free_opening: bool = True

    def default_params(self) -> Params:
        """Mines and an opening drawn for each episode, 7 turns."""
        return (
            super()
            .default_params()
            .replace(
                max_steps=jnp.int32(7),
                safe_reward=jnp.float32(0),
                click_reward=jnp.float32(0.5),
                cascade_reward=jnp.float32(1.5),
                solved_reward=jnp.float32(10),
                mine_reward=jnp.float32(-0.1),
                repeat_reward=jnp.float32(-1),
                repeat_ends=jnp.bool_(False),
            )
        )
