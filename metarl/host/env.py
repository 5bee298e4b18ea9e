"""A Gymnasium environment as agents and rules see one, and translation between the two sides."""

import importlib
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space, Tuple
from gymnasium.vector import AutoresetMode, VectorEnv

from metarl.ops.sampling import narrow
from metarl.types import Key, PyTree


@dataclass(frozen=True)
class HostEnv:
    """Spaces of one environment, and how to make many of it.

    Pictures of Gymnasium, uint8 `[H, W, C]` with 1, 3 or 4 channels and bounds 0 and 255, are read
    as planes `[C, H, W]`; a stack of frames `[K, H, W]` is planes already, and one of coloured
    frames `[K, H, W, C]` is read as `[K C, H, W]`. Numbers of 64 bits are read with 32. Discrete
    actions count from 0 for the agent, and a `Box` of actions is flat: what the environment gets
    is shaped, shifted and clipped to its bounds, the rule sees what the policy drew.
    """

    observations: Space  # of a single environment, as Gymnasium has it
    actions: Space
    id: str = ""
    settings: tuple[tuple[str, Any], ...] = field(default=())

    @classmethod
    def of(cls, envs: VectorEnv) -> "HostEnv":
        """Of the environments stepped together by `envs`."""
        return cls(envs.single_observation_space, envs.single_action_space)

    @classmethod
    def make(cls, id: str, **settings: Any) -> "HostEnv":
        """Of Gymnasium's environment `id`, such as `CartPole-v1` or `ale_py:ALE/Pong-v5`.

        Raises:
          ValueError: Gymnasium has no such environment, or it refuses the settings.
        """
        env = cls(Discrete(1), Discrete(1), id, tuple(sorted(settings.items())))
        envs = env.vector(1)
        spaces = envs.single_observation_space, envs.single_action_space
        envs.close()
        return cls(*spaces, env.id, env.settings)

    def vector(self, num_envs: int, **more: Any) -> VectorEnv:
        """`num_envs` of them, stepped together: in one process, or as their own vector code does.

        Args:
          num_envs: N.
          **more: settings beside those of the environment, such as `render_mode`.

        Raises:
          ValueError: Gymnasium has no such environment, or it refuses the settings.
        """
        settings = {**dict(self.settings), **more}
        try:
            module, _, name = self.id.rpartition(":")
            if module:  # which registers it
                importlib.import_module(module)
            spec = gymnasium.spec(name)
            if spec.vector_entry_point is None:
                settings["vector_kwargs"] = {"autoreset_mode": AutoresetMode.SAME_STEP}
            return gymnasium.make_vec(self.id, num_envs, **settings)
        except (gymnasium.error.Error, TypeError, ImportError) as problem:
            raise ValueError(f"gymnasium cannot make {self.id!r}: {problem}") from problem

    @property
    def observation_space(self) -> Space:
        """What agents read."""
        return _read_space(self.observations)

    @property
    def action_space(self) -> Space:
        """What policies are over."""
        if isinstance(self.actions, Discrete):
            return Discrete(int(self.actions.n))
        if isinstance(self.actions, Box):
            low, high = (
                x.ravel().astype(np.float32) for x in (self.actions.low, self.actions.high)
            )
            return Box(low, high, dtype=np.float32)
        return self.actions

    @property
    def num_actions(self) -> int:
        """Number of discrete actions."""
        return int(self.actions.n) if isinstance(self.actions, Discrete) else 0

    def default_params(self) -> tuple:
        """Nothing that a compiled programme could change; see `settings`."""
        return ()

    def reset(self, key: Key, params: PyTree) -> Any:
        """Raises ValueError: these episodes begin on the host."""
        raise ValueError(f"{self.id} of Gymnasium is stepped on the host, by metarl.host alone")

    def step(self, key: Key, state: PyTree, action: jax.Array, params: PyTree) -> Any:
        """Raises ValueError: these steps are taken on the host."""
        return self.reset(key, params)

    def read(self, obs: PyTree) -> PyTree:
        """A copy of an observation, or of a batch of them, as `observation_space` has it."""
        return _read(self.observations, obs)

    def nothing(self, num_envs: int) -> np.ndarray:
        """The previous action of those who have not acted yet, [N, ...]."""
        space: Any = self.action_space
        return np.zeros((num_envs, *space.shape), narrow(space))

    def act(self, action: np.ndarray) -> np.ndarray:
        """A batch of a policy's actions, [N, ...], as the environment takes them."""
        if isinstance(self.actions, Box):
            box = self.actions
            clipped = np.clip(action.reshape(-1, *box.shape), box.low, box.high)
            return clipped.astype(box.dtype)
        start = self.actions.start if isinstance(self.actions, Discrete) else 0
        return np.asarray(action, self.actions.dtype) + start


def _is_picture(space: Space) -> bool:
    if not isinstance(space, Box) or space.dtype != np.uint8 or len(space.shape) not in (3, 4):
        return False
    height, width, channels = space.shape[-3:]
    known = channels in (1, 3, 4) and min(height, width) >= 8
    return known and bool((space.low == 0).all() and (space.high == 255).all())


def _read_space(space: Space) -> Space:
    if isinstance(space, Dict):
        return Dict({name: _read_space(part) for name, part in space.spaces.items()})
    if isinstance(space, Tuple):
        return Tuple([_read_space(part) for part in space.spaces])
    if isinstance(space, Box):
        with np.errstate(over="ignore"):  # bounds that 32 bits cannot say are none
            low, high = (_planes(space, x).astype(narrow(space)) for x in (space.low, space.high))
        return Box(low, high, dtype=narrow(space))
    return space


def _read(space: Space, obs: Any) -> PyTree:
    if isinstance(space, Dict):
        return {name: _read(part, obs[name]) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(_read(part, one) for part, one in zip(space.spaces, obs, strict=True))
    return np.array(_planes(space, np.asarray(obs)), narrow(space))


def _planes(space: Space, x: np.ndarray) -> np.ndarray:
    """[..., H, W, C] -> [..., C, H, W] and [..., K, H, W, C] -> [..., K C, H, W] of pictures."""
    if not _is_picture(space):
        return x
    x = np.moveaxis(x, -1, -3)
    if len(space.shape or ()) == 4:
        x = x.reshape(*x.shape[:-4], x.shape[-4] * x.shape[-3], *x.shape[-2:])
    return x
