"""Environment steps per second, ours and others', in one process and in turns.

    python benchmarks/envs.py --batch 256 2048 8192 --out benchmarks/results/envs.jsonl

Every programme scans the same number of steps and draws the same uniform actions; it carries the
observation to act on next and donates its carry. `kept` also carries the outcome before the reset,
which ours keeps and others overwrite. Needs jumanji for the comparison. Prints JSON lines; the last
ones are the ratios.
"""

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from sokoban_levels import jumanji_sokoban, our_params
from timing import compiled, in_turns, ratios, report

import metarl
from metarl.ops import keys
from metarl.rollout import VectorEnv, fresh, none, pool, vectorize
from metarl.types import Key, PyTree

STEPS = 2**18  # at least so many in one timed run, in one scan or more
JUMANJI = importlib.util.find_spec("jumanji") is not None


class Programme(NamedTuple):
    """A suite's environments in a batch; the carry is whatever one step hands to the next."""

    init: Callable[[Key], PyTree]
    step: Callable[[Key, PyTree, jax.Array], PyTree]  # carry after actions [N]


def ours(venv: VectorEnv, params: PyTree, batch: int, kept: bool = False) -> Programme:
    """Ours; `kept` carries the outcome before the reset as well."""

    def step(key: Key, carry: PyTree, actions: jax.Array) -> PyTree:
        state, ts = venv.step(key, carry[0], actions, params)
        return state, ts if kept else ()

    def init(key: Key) -> PyTree:
        state = venv.init(key, params)
        shapes = jax.eval_shape(step, key, (state, ()), jnp.zeros(batch, jnp.int32))[1]
        return state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return Programme(init, step)


def theirs(make: Callable[[], Any], batch: int, reset: bool) -> Programme:
    """Jumanji's, with its own auto-reset or without."""
    from jumanji.wrappers import VmapAutoResetWrapper, VmapWrapper

    env = (VmapAutoResetWrapper if reset else VmapWrapper)(make())
    init = lambda key: env.reset(jax.random.split(key, batch))  # noqa: E731
    return Programme(init, lambda key, carry, actions: env.step(carry[0], actions))


def jumanji_snake() -> Any:
    """Snake-v1."""
    import jumanji

    return jumanji.make("Snake-v1")


class Case(NamedTuple):
    """What is measured of one environment."""

    params: Callable[[Any], PyTree]  # ours, from the environment
    jumanji: Callable[[], Any] | None  # its counterpart, where there is one


ENVS = {
    "Snake-v0": Case(lambda env: env.default_params(), jumanji_snake),
    "Sokoban-v0": Case(our_params, jumanji_sokoban),
}


def programmes(name: str, batch: int) -> Iterator[tuple[str, Programme]]:
    """Every suite's way to step one environment."""
    env, case = metarl.make(name), ENVS[name]
    params = case.params(env)
    for suffix, reset in (("fresh", fresh), ("pool", pool(1024, 4)), ("none", none)):
        yield f"metarl {suffix}", ours(vectorize(env, batch, reset), params, batch)
    yield "metarl fresh kept", ours(vectorize(env, batch), params, batch, kept=True)
    if case.jumanji is not None and JUMANJI:
        yield "jumanji", theirs(case.jumanji, batch, reset=True)
        yield "jumanji none", theirs(case.jumanji, batch, reset=False)


def scanned(programme: Programme, actions: int, batch: int, length: int) -> Callable[..., PyTree]:
    """`length` steps of uniform actions."""
    draw = jax.vmap(lambda key: keys.below(keys.words(key, 1)[0], actions))

    def run(key: Key, carry: PyTree) -> PyTree:
        def step(carry: PyTree, key: Key) -> tuple[PyTree, None]:
            action_key, step_key = keys.split(key)
            return programme.step(step_key, carry, draw(keys.spread(action_key, batch))), None

        return jax.lax.scan(step, carry, jax.random.split(key, length))[0]

    return run


def repeatable(run: Callable[..., PyTree], carry: PyTree, times: int) -> Callable[[int], PyTree]:
    """Runs some times, and goes on from where it stopped when called again."""
    held = [carry]

    def go(repeat: int) -> PyTree:
        for i in range(times):
            held[0] = run(jax.random.key(repeat * times + i), held[0])
        return held[0]

    return go


def measure(name: str, batch: int, length: int, repeats: int) -> list[dict[str, Any]]:
    """One line for each suite.

    Raises:
      RuntimeError: a compiled step calls back to the host.
    """
    rows, runs = {}, {}
    actions = metarl.make(name).num_actions
    scans = max(1, STEPS // (batch * length))
    for suite, programme in programmes(name, batch):
        carry = jax.tree.map(jnp.copy, jax.jit(programme.init)(jax.random.key(0)))
        run = scanned(programme, actions, batch, length)
        executable, costs = compiled(run, jax.random.key(0), carry, donate=(1,))
        if "callback" in executable.as_text():
            raise RuntimeError(f"the compiled step of {suite} {name} calls back to the host")
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(carry)) / batch
        rows[suite] = {"env": name, "suite": suite, "batch": batch, "length": length}
        rows[suite] |= {**costs, "carry_bytes_per_env": round(size)}
        runs[suite] = repeatable(executable, carry, scans)
    times = in_turns(runs, scans * batch * length, repeats)
    return [{"benchmark": "envs", **row, **times[suite]} for suite, row in rows.items()]


def compare(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each of ours that resets against jumanji with its own auto-reset."""
    for rival in (row for row in rows if row["suite"] == "jumanji"):
        for row in rows:
            same = (row["env"], row["batch"]) == (rival["env"], rival["batch"])
            if same and row["suite"] in ("metarl fresh", "metarl fresh kept", "metarl pool"):
                names = {key: row[key] for key in ("benchmark", "env", "batch")}
                yield {**names, "suite": f"{row['suite']} / jumanji", **ratios(row, rival)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", nargs="+", choices=sorted(ENVS), default=sorted(ENVS))
    parser.add_argument("--batch", nargs="+", type=int, default=[256, 2048, 8192])
    parser.add_argument("--length", type=int, default=64, help="steps of one scan")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs, at least 5")
    parser.add_argument("--out", help="append the JSON lines to this file")
    args = parser.parse_args()
    if args.repeats < 5 or min(args.batch) < 1 or args.length < 1:
        parser.error("repeats must be at least 5, batch and length at least 1")
    rows = []
    for name in args.env:
        for batch in args.batch:
            lines = measure(name, batch, args.length, args.repeats)
            report(lines, args.out)
            rows += lines
    report(compare(rows), args.out)


if __name__ == "__main__":
    main()
