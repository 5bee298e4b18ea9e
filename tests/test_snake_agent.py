"""The network of the recipe on Snake, against XLA's convolutions."""

import jax
import numpy as np

import metarl
from metarl.recipes.snake_agent import apart_2x2, around_2x2, snake_agent


def convolved(x, kernel, stride):
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], kernel, stride, "SAME", dimension_numbers=dims)[0]


def test_patches_make_the_convolutions_of_the_paper():
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], (6, 6, 5)), jax.random.normal(keys[1], (2, 2, 5, 3))
    flat = kernel.reshape(20, 3)
    for patches, stride in ((apart_2x2, (2, 2)), (around_2x2, (1, 1))):
        np.testing.assert_allclose(patches(x) @ flat, convolved(x, kernel, stride), atol=1e-4)


def test_every_head_has_a_network_of_the_published_size():
    env = metarl.make("Snake-v0", size=6)
    agent = snake_agent(env, {"logits": 4, "value": 1, "outer_value": 1})
    params = jax.eval_shape(agent.init, jax.random.key(0))
    sizes = {name: [layer["w"].shape for layer in net["dense"]] for name, net in params.items()}
    assert sizes["logits"] == [(288, 64), (64, 64)]
    assert sizes["value"] == sizes["outer_value"] == [(288, 128), (128, 128)]
