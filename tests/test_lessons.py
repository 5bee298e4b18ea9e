"""Few-shot lessons: what they show, and what players without training make of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from metarl.sequences.lessons import delayed, synchronous, two_tasks
from metarl.sequences.players import best_accuracy, nearest_mean
from metarl.sequences.sources import Gaussian, Projected

WAYS, SHOTS, N_IN, TRIM, COUNT = 3, 4, 5, 6, 300
SOURCES = (Gaussian(N_IN, 0.3), Projected(N_IN, base=6, classes=5, examples=7, noise=0.2))


def drawn(kind, count=COUNT, seed=0, **sizes):
    """Many lessons as numpy arrays [count, T, ...]."""
    draw = partial(kind, **{"ways": WAYS, "shots": SHOTS, **sizes})
    lessons = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(seed), count))
    return jax.tree.map(np.asarray, lessons)


@pytest.fixture(scope="module", params=SOURCES, ids=lambda source: type(source).__name__)
def lessons(request):
    source = request.param
    return {
        "synchronous": drawn(partial(synchronous, source=source)),
        "delayed": drawn(partial(delayed, source=source)),
        "two_tasks": drawn(partial(two_tasks, first=source, second=SOURCES[0]), trim=TRIM),
    }


def test_shapes_and_types(lessons):
    for name, length in (("synchronous", 13), ("delayed", 12), ("two_tasks", 24)):
        lesson = lessons[name]
        assert lesson.inputs.shape == (COUNT, length, N_IN + WAYS)
        for leaf, dtype in (
            (lesson.targets, np.int32), (lesson.weight, np.float32), (lesson.shot, np.int32),
            (lesson.task, np.int32),
        ):  # fmt: skip
            assert leaf.shape == (COUNT, length) and leaf.dtype == dtype


def test_before_a_query_each_class_was_shown_equally_often(lessons):
    lesson = lessons["synchronous"]
    labels = lesson.inputs[..., N_IN:]
    assert (labels[:, :-1].sum(axis=1) == SHOTS).all() and (labels[:, -1] == 0).all()
    assert (labels[:, :-1].argmax(axis=-1) == lesson.targets[:, :-1]).all()
    assert (lesson.shot[:, -1] == SHOTS).all()
    assert (lesson.weight[:, -1] == 1).all() and (lesson.weight[:, :-1] == 0).all()
    assert set(lesson.targets[:, -1]) == set(range(WAYS))
    assert len({tuple(row) for row in lesson.targets}) > COUNT / 2  # the order is random


def test_a_delayed_label_is_the_target_before(lessons):
    for name in ("delayed", "two_tasks"):
        lesson = lessons[name]
        labels, asked = lesson.inputs[..., N_IN:], lesson.weight == 1
        assert (labels[:, 0] == 0).all()
        before = np.eye(WAYS)[lesson.targets[:, :-1]]
        np.testing.assert_array_equal(labels[:, 1:][asked[:, 1:]], before[asked[:, 1:]])
        assert (lesson.inputs[~asked] == 0).all()


def test_shots_count_the_examples_of_a_class_in_its_own_task(lessons):
    for lesson in lessons.values():
        for targets, tasks, shot, weight in zip(
            lesson.targets[:20], lesson.task[:20], lesson.shot[:20], lesson.weight[:20], strict=True
        ):
            seen = {}
            for t in range(len(targets)):
                if lesson is lessons["two_tasks"] and weight[t] == 0:
                    continue  # behind the end
                place = tasks[t], targets[t]
                assert shot[t] == seen.get(place, 0)
                seen[place] = seen.get(place, 0) + 1


def test_two_tasks_are_cut_at_random_and_follow_each_other(lessons):
    lesson = lessons["two_tasks"]
    asked = lesson.weight == 1
    first, second = ((asked & (lesson.task == i)).sum(axis=1) for i in range(2))
    for length in (first, second):
        assert set(length) == set(range(12 - TRIM, 13))
    assert np.corrcoef(first, second)[0, 1] < 0.3
    assert (np.diff(lesson.task, axis=1) >= 0).all()  # 0 then 1
    assert (np.diff(asked.astype(int), axis=1) <= 0).all()  # what is missing is at the end
    assert (asked.sum(axis=1) == first + second).all()


def test_the_order_of_two_sources_is_random_and_they_stay_what_they_are():
    loud, soft = Gaussian(40, 100.0), Gaussian(40, 0.01)
    lesson = drawn(partial(two_tasks, first=loud, second=soft), count=200, trim=3)
    size = np.abs(lesson.inputs[..., :40]).mean(axis=-1)
    loud_first = size[:, 0] > 10
    assert 70 < loud_first.sum() < 130
    expected = (lesson.task == 0) == loud_first[:, None]
    assert ((size > 10) == expected)[lesson.weight == 1].all()


def test_labels_tell_nothing_without_examples():
    """Whoever names any class, or counts those before, is right one time in `WAYS`."""
    targets = drawn(partial(delayed, source=SOURCES[0]), count=4000).targets
    queries = drawn(partial(synchronous, source=SOURCES[0]), count=4000).targets[:, -1]
    assert scipy.stats.chisquare(np.bincount(queries, minlength=WAYS)).pvalue > 1e-3
    assert scipy.stats.chisquare(np.bincount(targets.ravel(), minlength=WAYS)).pvalue > 1e-3
    counts = np.stack([(targets[:, :-1] == i).sum(axis=1) for i in range(WAYS)])
    rarest = counts.argmin(axis=0)
    assert abs((rarest == targets[:, -1]).mean() - 1 / WAYS) < 0.03


def test_a_gaussian_task_has_the_spread_that_it_says():
    source = Gaussian(3, 0.5)
    task = source.task(jax.random.key(0), 2)
    keys = jax.random.split(jax.random.key(1), 20_000)
    x = np.asarray(jax.vmap(source.example, in_axes=(0, None, None))(keys, task, jnp.int32(1)))
    np.testing.assert_allclose(x.mean(axis=0), task[1], atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), 0.25 * np.eye(3), atol=0.01)


def test_a_projected_task_maps_the_one_data_set():
    source = SOURCES[1]
    data = np.asarray(source.data())
    assert data.shape == (5, 7, 6)
    np.testing.assert_array_equal(data, source.data())
    assert not np.allclose(data, Projected(N_IN, base=6, classes=5, examples=7, seed=1).data())
    task = source.task(jax.random.key(3), WAYS)
    assert len(set(np.asarray(task.classes))) == WAYS
    keys = jax.random.split(jax.random.key(4), 50)
    x = jax.vmap(source.example, in_axes=(0, None, None))(keys, task, jnp.int32(2))
    images = data[int(task.classes[2])] @ np.asarray(task.matrix)  # [7, N_IN]
    away = np.abs(np.asarray(x)[:, None] - images).max(axis=-1)
    assert away.min(axis=1).max() < 1e-5 and len(set(away.argmin(axis=1))) == 7


def test_projections_keep_the_scale():
    source = Projected(n_in=50, base=200, classes=10)
    matrix = jax.vmap(lambda key: source.task(key, 2).matrix)(
        jax.random.split(jax.random.key(0), 20)
    )
    np.testing.assert_allclose(np.var(matrix), 1 / 200, rtol=0.05)
    assert abs(float(jnp.mean(jnp.square(source.data()))) - 1) < 0.15


def test_few_tasks_come_again_and_many_do_not():
    for tasks, expected in ((4, 4), (0, 60)):
        source = Projected(N_IN, base=6, classes=5, tasks=tasks)
        keys = jax.random.split(jax.random.key(0), 60)
        found = jax.vmap(lambda key, source=source: source.task(key, 3).matrix[0, 0])(keys)
        assert len(set(np.asarray(found).tolist())) == expected


@pytest.mark.parametrize("n_in, noise, shots", [(4, 0.6, 1), (8, 1.0, 3)])
def test_the_bayes_player_is_as_right_as_can_be(n_in, noise, shots):
    """Student's t against an integral over the distance of two means, and against lessons."""
    source = Gaussian(n_in, noise)
    spread, var = 2 * shots / (noise**2 + shots), noise**2 * (1 + 1 / (noise**2 + shots))

    def right(r):
        return scipy.stats.norm.cdf(r * spread**0.5 / (2 * var**0.5)) * scipy.stats.chi.pdf(r, n_in)

    best = best_accuracy(source, shots)
    np.testing.assert_allclose(best, scipy.integrate.quad(right, 0, np.inf)[0], rtol=1e-6)
    lessons = jax.vmap(partial(synchronous, source=source, ways=2, shots=shots))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    for known in (noise, None):
        play = partial(nearest_mean, n_in=n_in, ways=2, noise=known)
        said = jax.jit(jax.vmap(play))(lessons)[:, -1].argmax(axis=-1)
        hits = np.asarray(said == lessons.targets[:, -1])
        assert abs(hits.mean() - best) < 4 * (best * (1 - best) / len(hits)) ** 0.5


def test_the_posterior_is_that_of_bayes_rule_step_by_step():
    """Against densities of the joint Gaussian of all examples of a class; unseen classes too."""
    noise = 0.8
    lesson = jax.tree.map(
        lambda x: x[0], drawn(partial(delayed, source=Gaussian(2, noise)), count=1)
    )
    scores = np.asarray(nearest_mean(lesson, n_in=2, ways=WAYS, noise=noise), float)
    x, labels = lesson.inputs[:, :2].astype(float), lesson.targets
    for t in range(len(labels)):
        density = []
        for label in range(WAYS):
            old = x[:t][labels[:t] == label]
            both = np.concatenate([old, x[t : t + 1]])
            log = 0.0
            for part, sign in ((both, 1), (old, -1)):
                if len(part):
                    cov = np.ones((len(part),) * 2) + noise**2 * np.eye(len(part))
                    normal = scipy.stats.multivariate_normal(np.zeros(len(part)), cov)
                    log += sign * normal.logpdf(part.T).sum()
            density.append(log)
        expected = np.array(density) - scipy.special.logsumexp(density)
        np.testing.assert_allclose(
            scores[t] - scipy.special.logsumexp(scores[t]), expected, atol=1e-4
        )


def test_the_player_forgets_where_the_task_changes():
    lesson = jax.tree.map(
        lambda x: x[0],
        drawn(partial(two_tasks, first=SOURCES[0], second=SOURCES[0]), count=1, trim=0),
    )
    scores = np.asarray(nearest_mean(lesson, n_in=N_IN, ways=WAYS))
    assert (scores[[0, 12]] == -np.inf).all() and np.isfinite(scores[[11, 23]]).all()


def test_what_cannot_be_gets_an_error():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="5 and 6 wide"):
        two_tasks(key, Gaussian(5), Gaussian(6), ways=2, shots=2, trim=0)
    with pytest.raises(ValueError, match=r"trim must lie in 0\.\.3"):
        two_tasks(key, Gaussian(5), Gaussian(5), ways=2, shots=2, trim=4)
    with pytest.raises(ValueError, match="the data set has 5"):
        SOURCES[1].task(key, 6)
