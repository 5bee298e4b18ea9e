"""Tests run on the CPU unless JAX_PLATFORMS says otherwise."""

import os

import pytest

import metarl

os.environ.setdefault("JAX_PLATFORMS", "cpu")

CHEAP_BRAX = ("brax/inverted_pendulum",)  # another of Brax's compiles for a quarter of a minute


def _ids():
    for name in metarl.registered():
        slow = name.startswith("brax/") and name not in CHEAP_BRAX
        yield pytest.param(name, marks=[pytest.mark.slow] if slow else [])


@pytest.fixture(params=[*_ids()], scope="module")
def env_id(request):
    """Every registered environment in turn; without Brax its own are skipped."""
    if request.param.startswith("brax/"):
        pytest.importorskip("brax")
    return request.param


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """Equal programmes of one file compile once, in its child processes too."""
    import jax

    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name.upper(), str(value))
            jax.config.update(name, value)
        yield
    for name, value in before.items():
        jax.config.update(name, value)
