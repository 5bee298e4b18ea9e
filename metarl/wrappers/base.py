"""What all wrappers share: an environment around an environment, equal and hashed by value."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flax import struct
from gymnasium.spaces import Space

from metarl.types import Key, PyTree


@dataclass(frozen=True)
class Wrapper:
    """Passes everything on to `env`; a wrapper overrides what it changes.

    Its state keeps the inner one as `state.env`. A wrapper with numbers of its own keeps the inner
    params as `params.env` beside them (`WithLeaves`), every other uses the inner params as they
    are. `num_actions`, `observe`, `render`, `render_text`, `sample_params` and `mutate` are there
    exactly when the inner environment has them.
    """

    env: Any

    @property
    def observation_space(self) -> Space:
        """The inner one."""
        return self.env.observation_space

    @property
    def action_space(self) -> Space:
        """The inner one."""
        return self.env.action_space

    def default_params(self, **options: Any) -> PyTree:
        """The inner defaults, to which `options` go, with the wrapper's own."""
        return self.extend(self.env.default_params(**options))

    def extend(self, params: PyTree) -> PyTree:
        """Params of this environment from inner ones."""
        return params

    def replace_inner(self, params: PyTree, inner: PyTree) -> PyTree:
        """The same params around other inner ones."""
        return inner

    def inner(self, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        """State and params of the inner environment."""
        return state.env, params

    def observe_inner(self, state: PyTree, params: PyTree) -> tuple[PyTree, Any]:
        """`observe` of the inner environment; overridden where observations change."""
        return self.env.observe(*self.inner(state, params))

    def __getattr__(self, name: str) -> Any:
        if name == "num_actions":
            return self.env.num_actions
        if name in _OFFERED:
            getattr(self.env, name)  # raises where the inner environment has none
            return partial(_OFFERED[name], self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Inner(struct.PyTreeNode):
    """State of a wrapper that remembers nothing."""

    env: PyTree


class WithLeaves(Wrapper):
    """A wrapper with numbers of its own, beside `params.env`."""

    def replace_inner(self, params: PyTree, inner: PyTree) -> PyTree:
        """The same numbers around other inner params."""
        return params.replace(env=inner)

    def inner(self, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        """State and params of the inner environment."""
        return state.env, params.env


def _observe(wrapper: Wrapper, state: PyTree, params: PyTree) -> tuple[PyTree, Any]:
    return wrapper.observe_inner(state, params)


def _render(wrapper: Wrapper, state: PyTree, params: PyTree) -> Any:
    return wrapper.env.render(*wrapper.inner(state, params))


def _render_text(wrapper: Wrapper, state: PyTree, params: PyTree) -> str:
    return wrapper.env.render_text(*wrapper.inner(state, params))


def _sample_params(wrapper: Wrapper, key: Key, split: str | None = None) -> PyTree:
    return wrapper.extend(wrapper.env.sample_params(key, split))


def _mutate(wrapper: Wrapper, key: Key, params: PyTree) -> PyTree:
    inner = wrapper.inner(Inner(()), params)[1]
    return wrapper.replace_inner(params, wrapper.env.mutate(key, inner))


_OFFERED: dict[str, Callable[..., Any]] = {
    "observe": _observe,
    "render": _render,
    "render_text": _render_text,
    "sample_params": _sample_params,
    "mutate": _mutate,
}
