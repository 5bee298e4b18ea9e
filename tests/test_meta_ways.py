"""Every way to a meta-gradient is the same sum of contributions, one from each update."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl.inner import act, live, turn_keys
from metarl.meta.common import life_keys
from metarl.meta.forward import forward
from metarl.meta.metagrad import last, metagrad
from metarl.meta.truncated import truncated

UPDATES = 3  # no power of anything, so that trees of checkpoints have ends left over
NAMES = ("discount", "lambda_", "entropy_cost", "value_cost", "learning_rate", "weight")
IDLE = optax.sgd(0.0)  # eta stays where it is


@pytest.fixture(scope="module")
def parts(meta_parts):
    return meta_parts()


@pytest.fixture(scope="module")
def mixed(meta_parts):
    return meta_parts(forward_over_reverse=True)


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree)


@pytest.fixture(scope="module")
def shares(parts):
    """name -> [UPDATES], what each update contributes to the meta-gradient, mean over learners.

    Each update has an eta of its own, and the life is a loop in Python of lives of one update.
    """

    def loss(etas, learner, key):
        for eta in etas:
            how = {"updates": 1, "gradient": "unrolled"}
            learner, _ = parts.call(live, eta, learner, key, **how)
        act_key, _ = turn_keys(key, learner)
        rollout, _ = act(parts.agent, parts.venv, learner, act_key, length=parts.length)
        return parts.objective(learner.params, rollout)

    with jax.enable_x64(True):
        learners, key = wide(parts.learners), jax.random.key(3)
        etas = [wide(parts.rule.init_eta(key))] * UPDATES
        run = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0)))
        grads = run(etas, learners, life_keys(key, learners))
        return {n: np.array([getattr(g, n).mean() for g in grads]) for n in NAMES}


def meta_gradient(parts, meta, turns=1):
    """name -> the meta-gradient that the outer loop tells of, at its last update, in float64."""
    with jax.enable_x64(True):
        key, learners = jax.random.key(3), wide(parts.learners)

        @jax.jit
        def run(learners):
            state = wide(meta.init(key, learners))
            for _ in range(turns):
                state, learners, metrics = meta.update(state, learners, key)
            return metrics

        metrics = run(learners)
        return {name: float(metrics[f"meta_grad/{name}"]) for name in NAMES}


def check(found, shares, factors):
    for name in NAMES:
        expected = shares[name] @ np.array(factors, float)
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, err_msg=name)


def outer(parts, **how):
    return parts.call(metagrad, parts.objective, IDLE, weights=last(UPDATES), **how)


def test_every_update_contributes(shares):
    for name in NAMES:
        assert (np.abs(shares[name]) > 1e-7).all(), name


SLOW = pytest.mark.slow  # each way is a programme to compile; these repeat what others show


@pytest.mark.parametrize(
    ("over", "gradient"),
    [
        ("reverse", "unrolled"),
        ("reverse", "checkpointed"),
        ("reverse", 3),
        ("forward", 2),
        pytest.param("reverse", 2, marks=SLOW),
        pytest.param("forward", "unrolled", marks=SLOW),
        pytest.param("forward", "checkpointed", marks=SLOW),
        pytest.param("forward", 3, marks=SLOW),
    ],
)
def test_all_ways_agree_to_rounding(parts, mixed, shares, gradient, over):
    those = parts if over == "reverse" else mixed
    check(meta_gradient(those, outer(those, gradient=gradient)), shares, [1, 1, 1])


@pytest.mark.parametrize("decay", [0.3, pytest.param(0.0, marks=SLOW)])
def test_eligibility_weakens_what_came_before(parts, shares, decay):
    found = meta_gradient(parts, outer(parts, gradient="unrolled", eligibility=decay))
    check(found, shares, [decay**2, decay, 1])


@pytest.mark.parametrize(
    "decay", [0.3, pytest.param(0.0, marks=SLOW), pytest.param(1.0, marks=SLOW)]
)
def test_forward_mode_is_the_whole_life_with_a_decay(parts, shares, decay):
    """Three meta-updates of one update each, and an eta that does not move."""
    meta = parts.call(forward, parts.objective, IDLE, decay=decay)
    found = meta_gradient(parts, meta, turns=UPDATES)
    check(found, shares, [decay**2, decay, 1])


@pytest.mark.parametrize("window", [2, pytest.param(1, marks=SLOW), pytest.param(3, marks=SLOW)])
def test_a_window_cuts_the_early_terms(parts, shares, window):
    how = {"updates": UPDATES, "window": window, "gradient": "unrolled"}
    meta = parts.call(truncated, parts.objective, IDLE, **how)
    found = meta_gradient(parts, meta)
    check(found, shares, [int(i >= UPDATES - window) for i in range(UPDATES)])


@pytest.mark.parametrize("window", [0, 4])
def test_a_window_lies_within_the_updates(parts, window):
    with pytest.raises(ValueError, match=r"window must lie in 1\.\.3"):
        outer(parts, window=window)


def test_some_outer_loss_must_count(parts):
    run = partial(parts.call, metagrad, parts.objective, IDLE)
    for weights in ((), (0.0, 0.0)):
        with pytest.raises(ValueError, match="must not be zero"):
            run(weights=weights)
    with pytest.raises(ValueError, match="number of levels of checkpoints"):
        run(gradient=0)
