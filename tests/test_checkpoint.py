import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl import files
from metarl.io import checkpoint


@pytest.fixture
def tree():
    params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.array([1, 2], jnp.bfloat16)}
    return {
        "params": params,
        "optimizer": optax.adam(1e-3).init(params),
        "planes": jnp.arange(8, dtype=jnp.uint8).reshape(2, 2, 2),
        "flag": jnp.bool_(True),
        "key": jax.random.split(jax.random.key(7), 2),
        "other_key": jax.random.key(7, impl="rbg"),
        "nothing": (),
    }


def assert_same(a, b):
    assert str(jax.tree.structure(a)) == str(jax.tree.structure(b))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_what_is_saved_comes_back(tmp_path, tree):
    path = checkpoint.save(tmp_path, 3, tree, {"rows": 12})
    restored, host = checkpoint.load(path, jax.eval_shape(lambda: tree))
    assert host == {"rows": 12}
    assert_same(restored, tree)


def test_only_the_newest_are_kept(tmp_path, tree):
    for update in (1, 20, 3, 100):
        checkpoint.save(tmp_path, update, tree, {}, keep=2)
    assert [p.name for p in checkpoint.listed(tmp_path)] == [
        "update_000000000020.ckpt",
        "update_000000000100.ckpt",
    ]


@pytest.mark.parametrize("size", [0, 10, 60, 200, -1])
def test_a_truncated_file_falls_back_to_the_one_before(tmp_path, tree, size):
    checkpoint.save(tmp_path, 1, tree, {"update": 1})
    newest = checkpoint.save(tmp_path, 2, tree, {"update": 2})
    newest.write_bytes(newest.read_bytes()[:size])
    warnings: list[str] = []
    found = checkpoint.load_newest(tmp_path, tree, warnings.append)
    assert found is not None and found[1] == {"update": 1}
    assert len(warnings) == 1 and newest.name in warnings[0]


def test_every_flipped_byte_is_noticed(tmp_path, tree):
    path = checkpoint.save(tmp_path, 1, tree, {})
    whole = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(whole), 50):
        broken = bytearray(whole)
        broken[position] ^= 0x20
        path.write_bytes(broken)
        with pytest.raises(checkpoint.CorruptError):
            checkpoint.load(path, tree)


def test_when_all_are_damaged_nothing_is_loaded(tmp_path, tree):
    for update in (1, 2):
        checkpoint.save(tmp_path, update, tree, {}).write_bytes(b"metarl")
    with pytest.raises(checkpoint.CorruptError, match="start over"):
        checkpoint.load_newest(tmp_path, tree, lambda _: None)


def test_an_empty_folder_holds_no_checkpoint(tmp_path, tree):
    assert checkpoint.load_newest(tmp_path / "absent", tree, pytest.fail) is None


def test_a_half_written_file_is_no_checkpoint(tmp_path, tree, monkeypatch):
    checkpoint.save(tmp_path, 1, tree, {"update": 1})

    def power_cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", power_cut)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, tree, {"update": 2})
    found = checkpoint.load_newest(tmp_path, tree, pytest.fail)
    assert found is not None and found[1] == {"update": 1}


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: {**t, "flag": jnp.zeros(3)}, r"flag.* is bool\[\].* needs float32\[3\]"),
        (lambda t: {**t, "key": t["other_key"]}, "key"),
        (lambda t: {**t, "planes": t["planes"].astype(jnp.int32)}, "uint8.*int32"),
        (lambda t: {**t, "more": jnp.zeros(1)}, "lacks.*more"),
        (lambda t: {k: v for k, v in t.items() if k != "params"}, "has.*params.*b.*params.*w"),
    ],
)
def test_another_configuration_is_refused_in_words(tmp_path, tree, change, words):
    path = checkpoint.save(tmp_path, 1, tree, {})
    with pytest.raises(checkpoint.MismatchError, match=words):
        checkpoint.load_newest(tmp_path, change(tree), pytest.fail)
    assert path.exists()
