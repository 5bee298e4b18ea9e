"""Films of the agents that lived in a cell: one episode of the first seed's, as a GIF."""

import pathlib

import jax

from metarl import host
from metarl.cells import Cell
from metarl.evaluate import pictures
from metarl.io.films import film_path
from metarl.io.video import comment_of, write_gif
from metarl.types import Learner

STEPS, FPS, SIDE = 200, 20.0, 128  # at most; a second; pixels of the longer side, at least
_FILM = 0x66696C6D  # folded into the first seed's key, apart from what lives and scores draw


class Camera:
    """Films the end of a cell once: a film of the same cell is kept, that of another replaced.

    `why` says why there is no film; empty where there is one.
    """

    def __init__(self, cell: Cell, folder: pathlib.Path):
        self._cell, self._path = cell, film_path(folder, cell.env)
        self._mark = cell.digest
        self.why = "" if self._done() else "it was finished before, without a film"
        self._draws = cell.hosted or hasattr(cell.parts.env, "render")
        if not self._draws:
            self.why = "it draws no pictures"

    def __call__(self, learners: Learner) -> None:
        """Films the first of the learners [S, ...]; what goes wrong is `why`, and no error."""
        if self._done() or not self._draws:
            return
        try:
            self._film(learners)
            self.why = ""
        except Exception as error:  # whatever an environment's drawing may raise
            self.why = f"{type(error).__name__}: {error}"

    def _film(self, learners: Learner) -> None:
        parts, env = self._cell.parts, self._cell.parts.env
        key = jax.random.fold_in(jax.random.key(parts.config.seeds[0]), _FILM)
        first = jax.tree.map(lambda x: x[0], (learners.params, learners.env_params))
        if isinstance(env, host.HostEnv):
            shown = host.pictures(env, parts.agent, first[0], key, steps=STEPS)
        else:
            frames, length = pictures(parts.agent, env, *first, key, steps=STEPS)
            shown = jax.device_get(frames)[: int(length) + 1]
        write_gif(shown, self._path, fps=FPS, side=SIDE, comment=self._mark)

    def _done(self) -> bool:
        return comment_of(self._path) == self._mark
