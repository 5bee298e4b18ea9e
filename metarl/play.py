"""An environment in the terminal: play it with the keyboard, or watch a trained agent."""

import contextlib
import os
import pathlib
import select
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl.build import make_env
from metarl.config import Part
from metarl.ops.distributions import policy
from metarl.outcome import agent_index, load
from metarl.rollout import first_inputs, successor
from metarl.run import Reporter
from metarl.types import Agent, Environment, Key, Params, PyTree, TimeStep

ARROWS = {"\x1b[A": 0, "\x1b[C": 1, "\x1b[B": 2, "\x1b[D": 3}  # up, right, down, left
LETTERS = {"w": 0, "d": 1, "s": 2, "a": 3}
_FOUR = (0, 1, 2, 3)  # the actions of these, unless an environment's `arrows` says otherwise
QUIT, SKIP = "quit", "skip"


class Player(NamedTuple):
    """A trained agent that plays by itself."""

    agent: Agent
    params: Params


class Terminal:
    """Keys without Enter and a redrawn screen on a terminal; plain lines on anything else."""

    def __init__(self, stdin: Any = None, stdout: Any = None):
        self._in, self._out = stdin or sys.stdin, stdout or sys.stdout
        self._drawn = self._out.isatty()

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Keys come one by one until the block ends, however it ends; Ctrl-C still interrupts."""
        if not self._in.isatty():
            yield
            return
        import termios
        import tty

        before = termios.tcgetattr(self._in)
        try:
            tty.setcbreak(self._in)
            yield
        finally:
            termios.tcsetattr(self._in, termios.TCSADRAIN, before)

    def show(self, text: str) -> None:
        """Draws a screen."""
        clear = "\x1b[H\x1b[2J" if self._drawn else ""
        self._out.write(clear + text + "\n")
        self._out.flush()

    def pause(self, seconds: float) -> None:
        """Leaves a screen time to be seen, where there is one."""
        if self._drawn:
            time.sleep(seconds)

    def key(self, wait: float | None = None) -> str | None:
        """The next key, an arrow as its escape sequence; None after `wait` seconds.

        The end of the input is the key `q`.
        """
        descriptor = self._in.fileno()
        if not select.select([descriptor], [], [], wait)[0]:
            return None
        first = os.read(descriptor, 1).decode(errors="replace")
        if first != "\x1b":
            return first or "q"
        rest = select.select([descriptor], [], [], 0.05)[0]
        return first + (os.read(descriptor, 2).decode(errors="replace") if rest else "")


def play(
    env: Environment,
    env_params: PyTree,
    key: Key,
    terminal: Terminal,
    *,
    player: Player | None = None,
    fps: float = 8.0,
    episodes: int = 0,
) -> list[float]:
    """Plays episodes until `q`; the key is consumed.

    Args:
      env: needs `render_text`.
      env_params: the task.
      key: of the whole session.
      terminal: where it is shown and keys come from.
      player: who acts; the keyboard where None.
      fps: steps a second of a player.
      episodes: stop after so many; 0 goes on.

    Returns:
      The returns of the episodes that ended.

    Raises:
      ValueError: the environment cannot be shown as text, or has no keys to play it with.
    """
    if not hasattr(env, "render_text"):
        raise ValueError(f"{type(env).__name__} has no `render_text`; try `metarl render`")
    if player is None and not hasattr(env, "num_actions"):
        raise ValueError(f"{type(env).__name__} has continuous actions; the keyboard has none")
    game = _Game(env, env_params, key, player)
    returns: list[float] = []
    with terminal.raw():
        while not episodes or len(returns) < episodes:
            total = _episode(game, terminal, len(returns) + 1, fps)
            if total is None:
                break
            returns.append(total)
    return returns


class _Game:
    """One environment, compiled, with the keys of its randomness."""

    def __init__(self, env: Environment, env_params: PyTree, key: Key, player: Player | None):
        self.env, self.env_params, self.player = env, env_params, player
        self._key = key
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._act = jax.jit(player.agent.apply) if player else None
        self._sample = jax.jit(lambda heads, key: policy(heads).sample(key))

    def reset(self) -> TimeStep:
        """Starts an episode, with a player that remembers nothing."""
        self.state, ts = self._reset(self._next(), self.env_params)
        self._inputs = first_inputs(self.env, ts)
        self._carry = self.player.agent.carry() if self.player else ()
        return ts

    def step(self, action: Any) -> TimeStep:
        """Takes an action."""
        self.state, ts = self._step(self._next(), self.state, action, self.env_params)
        self._inputs = successor(ts, action)
        return ts

    def choose(self) -> jax.Array:
        """The player's action."""
        assert self._act is not None and self.player is not None
        heads, self._carry = self._act(self.player.params, self._carry, self._inputs)
        return self._sample(heads, self._next())

    def text(self) -> str:
        """The state as text."""
        return self.env.render_text(self.state, self.env_params)  # type: ignore[attr-defined]

    def _next(self) -> Key:
        self._key, key = jax.random.split(self._key)
        return key


def _episode(game: _Game, terminal: Terminal, number: int, fps: float) -> float | None:
    """The return of one episode, or None where it was left."""
    ts, total, steps = game.reset(), 0.0, 0
    while not ts.last:
        status = f"episode {number}  step {steps}  return {total:g}  {_help(game)}"
        terminal.show(f"{game.text()}\n{status}")
        action = _action(game, terminal, fps)
        if action is None:
            return None
        ts = game.step(action)
        total, steps = total + float(ts.reward), steps + 1
    why = "the task ended" if ts.terminated else "time is up"
    end = f"episode {number} over after {steps} steps ({why}): return {total:g}"
    terminal.show(f"{game.text()}\n{end}")
    terminal.pause(1.0)
    return total


def _action(game: _Game, terminal: Terminal, fps: float) -> Any:
    """The next action, or None for leaving."""
    if game.player:
        return None if terminal.key(1 / fps) in ("q", "\x04") else game.choose()
    while True:
        key = terminal.key()
        if key in ("q", "\x04"):
            return None
        action = _meaning(key or "", game.env)
        if action is not None:
            return np.int32(action)


def _meaning(key: str, env: Any) -> int | None:
    """The action of a key: arrows and WASD where there are at least four, digits always."""
    moves = {**ARROWS, **LETTERS} if env.num_actions >= 4 else {}
    place = moves.get(key.lower() if len(key) == 1 else key)
    action = None if place is None else getattr(env, "arrows", _FOUR)[place]
    if action is None and key.isdecimal():
        action = int(key)
    return action if action is not None and action < env.num_actions else None


def _help(game: _Game) -> str:
    if game.player:
        return "q quits"
    actions = game.env.num_actions  # type: ignore[attr-defined]
    digits = f"0..{min(actions, 10) - 1}"
    if hasattr(game.env, "arrows"):
        return f"arrows or WASD or {digits}, q quits"
    return f"{'arrows or WASD' if actions == 4 else 'keys ' + digits}, q quits"


def setting(
    part: Part, run: pathlib.Path | None, agent_seed: int | None, report: Reporter
) -> tuple[Environment, PyTree, Player | None]:
    """What `play` needs, from an environment's name, a run's folder, or both.

    Raises:
      ValueError: neither is given, or the run's agent does not fit the environment.
    """
    if run is None:
        if not part.name:
            raise ValueError("say what to play: `metarl play Snake-v0` or `metarl play --run RUN`")
        env, env_params, _ = make_env(part)
        return env, env_params, None
    _, parts, learner = load(run, report)
    index = agent_index(parts.config, agent_seed)
    params, env_params = jax.tree.map(lambda x: x[index], learner.params), parts.env_params
    player = Player(parts.agent, params)
    if not part.name:
        return parts.env, env_params, player
    env, env_params, _ = make_env(part)
    for space in ("observation_space", "action_space"):
        if getattr(env, space) != getattr(parts.env, space):
            raise ValueError(
                f"the agent of {run} was trained on {parts.config.env}, whose {space} is "
                f"{getattr(parts.env, space)}, not {getattr(env, space)} as in {part}"
            )
    return env, env_params, player
