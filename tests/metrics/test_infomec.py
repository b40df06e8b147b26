"""InfoMEC against values worked out on paper, slow versions and scikit-learn."""

import math
import warnings

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_codes import full_grid, random_code

from tripod_lite.metrics import infomec, normalized_information
from tripod_lite.metrics.infomec import active_latents, concentration, explicitness, explicitness_of_losses
from tripod_lite.metrics.regression import least_losses


def entropy(*p: float) -> float:
    return -sum(q * math.log(q) for q in p if q)


def slow_information(s: np.ndarray, z: np.ndarray) -> float:
    """I(s; z) = Σ p(s, z) log p(s, z) / (p(s) p(z)), one pair of values at a time."""
    total = 0.0
    for a in np.unique(s):
        for b in np.unique(z):
            joint = np.mean((s == a) & (z == b))
            if joint > 0:
                total += joint * math.log(joint / (np.mean(s == a) * np.mean(z == b)))
    return total


def test_a_latent_for_each_source_scores_one():
    s = full_grid(3, 4, 5)
    scores = infomec(s, s)
    assert scores[:3] == pytest.approx((1, 1, 1), abs=1e-4)
    assert scores.nmi == pytest.approx(np.eye(3), abs=1e-12)
    assert scores.active.all()


def test_unused_latents_are_pruned():
    s = full_grid(3, 4)
    z = np.column_stack([s, np.full(12, 2), [3] + [0] * 11])  # constant, and nearly
    scores = infomec(s, z)
    assert scores.active.tolist() == [True, True, False, False]
    assert scores[:3] == pytest.approx((1, 1, 1), abs=1e-4)
    assert scores.nmi[0, 3] > 0  # reported all the same


def test_a_source_held_twice_costs_compactness():
    # NMI = [[1, 1, 0], [0, 0, 1]]: shares (1/2, 1), less 1/3, over 2/3: (1/4 + 1)/2.
    s = full_grid(3, 4)
    scores = infomec(s, s[:, [0, 0, 1]])
    assert scores[:2] == pytest.approx((1, 5 / 8), abs=1e-12)


def test_a_latent_that_holds_two_sources_costs_modularity():
    # z0 numbers the pairs of two binary sources, z1 copies the third source: NMI = [[1, 0], [1, 0], [0, 1]].
    # InfoM: shares (1/2, 1), less 1/3, over 2/3. InfoC: each source is in one latent. InfoE: one-hot z0 tells both.
    s = full_grid(2, 2, 2)
    z = np.column_stack([2 * s[:, 0] + s[:, 1], 3 * s[:, 2]])
    assert infomec(s, z)[:3] == pytest.approx((5 / 8, 1, 1), abs=1e-4)


def test_exclusive_or_is_information_about_neither():
    s = full_grid(2, 2)
    z = (s[:, :1] ^ s[:, 1:]) * 3
    scores = infomec(s, z)
    assert scores.nmi.tolist() == [[0], [0]]
    assert scores[:3] == pytest.approx((0, 0, 0), abs=1e-6)


def test_round_off_is_no_preference():
    s = full_grid(3, 11)
    scores = infomec(s[:, :1], s[:, 1:])  # independent, but in floats the sum of p log p/q is 2e-16
    assert scores.nmi.tolist() == [[0]]
    assert scores[:2] == (0, 0)


def test_a_noisy_copy_has_the_information_of_its_channel():
    # A bit flipped one time in four: I = log 2 - H(1/4), and the best linear reader knows exactly that.
    s = np.array([[0]] * 4 + [[1]] * 4)
    z = np.array([[0], [0], [0], [1], [1], [1], [1], [0]])
    share = 1 - entropy(0.25, 0.75) / math.log(2)
    scores = infomec(s, z)
    assert scores.nmi[0, 0] == pytest.approx(share, abs=1e-12)
    assert scores.explicitness == pytest.approx(share, abs=1e-6)


def test_information_is_normalized_by_the_sources_entropy():
    # s is 0 (half the time), 1 or 2; z tells only whether it is 0: I = log 2, H(s) = 1.5 log 2.
    s = np.array([[0], [0], [1], [2]])
    z = np.array([[0], [0], [1], [1]])
    assert normalized_information(s, z)[0, 0] == pytest.approx(2 / 3, abs=1e-12)


def test_explicitness_weighs_classes_equally():
    # As above, but balanced: classes of weight 1/3; z = 0 is class 0, z = 1 leaves one bit between 1 and 2,
    # so that H_z = 2/3 log 2 and H∅ = log 3. Unbalanced it would be log 2 / 2 over 1.5 log 2.
    s = np.array([[0], [0], [1], [2]])
    z = np.array([[0], [0], [1], [1]])
    assert explicitness(s, z) == pytest.approx(1 - 2 / 3 * math.log(2) / math.log(3), abs=1e-4)


def test_explicitness_sees_what_is_linear_in_the_levels_only():
    # The sum of two ternary latents is not linear in their one-hot codes, but each of them is.
    z = full_grid(3, 3)
    s = np.column_stack([z[:, 0], (z[:, 0] + z[:, 1]) % 3])
    assert explicitness(s, z) == pytest.approx((1, 0), abs=1e-4)


def test_no_active_latent_scores_zero():
    s = full_grid(3, 4)
    for z, discrete in ((np.zeros((12, 2)), True), (np.zeros((12, 2)), False), (np.full((12, 1), 5), True)):
        scores = infomec(s, z, discrete)
        assert scores[:3] == (0, 0, 0)
        assert not scores.active.any()


def test_one_active_latent_is_compact_for_the_sources_it_knows():
    s = full_grid(3, 4)
    z = np.column_stack([s[:, 0], np.zeros(12, int)])
    scores = infomec(s, z)
    assert scores[:2] == pytest.approx((1, 1 / 2))  # it knows one source of two
    assert all(np.isfinite(scores[:3]))


def test_one_source_is_modular_in_the_latents_that_know_it():
    s = full_grid(4, 4)
    assert infomec(s[:, :1], s)[:2] == pytest.approx((1 / 2, 1))


def test_concentration_by_hand():
    rows = np.array([[1.0, 0, 0], [1, 1, 1], [2, 1, 1], [0, 0, 0]])
    assert concentration(rows) == pytest.approx((1, 0, 1 / 4, 0), abs=1e-12)
    assert concentration(np.array([[3.0], [0.0]])).tolist() == [1, 0]


def test_independent_noise_scores_near_zero():
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, 4, 5000) for _ in range(3)], axis=1)
    scores = infomec(s, rng.integers(0, 6, (5000, 4)))
    assert scores.nmi.max() < 0.005  # the plug-in's bias, (4-1)(6-1)/(2n) nats over log 4
    assert scores.explicitness < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_fast_information_equals_the_double_loop(seed):
    s, z = random_code(seed, n=400)
    slow = np.array([[slow_information(a, b) / slow_information(a, a) for b in z.T] for a in s.T])
    assert normalized_information(s, z) == pytest.approx(slow, abs=1e-12)


@given(seed=st.integers(0, 50), data=st.data())
@settings(max_examples=15, deadline=None)
def test_names_and_order_do_not_matter(seed, data):
    """Permuted sources, permuted and negated latents, renamed source values: the same scores."""
    s, z = random_code(seed, n=60)
    grid = 2 * z / 6 - 1
    rows, columns = data.draw(st.permutations(range(3))), data.draw(st.permutations(range(4)))
    signs = np.array(data.draw(st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4)))
    names = np.array(data.draw(st.permutations(range(-7, 13))))
    before, after = infomec(s, grid), infomec(names[s][:, rows], (grid * signs)[:, columns])
    assert after[:3] == pytest.approx(before[:3], abs=1e-4)
    assert after.nmi == pytest.approx(before.nmi[np.ix_(rows, columns)], abs=1e-12)
    assert after.active.tolist() == before.active[columns].tolist()


def test_indices_and_grid_values_agree():
    s, z = random_code(0, n=400)
    as_indices, as_values = infomec(s, z, levels=7), infomec(s, (2 * z / 6 - 1).astype(np.float32))
    assert as_indices[:3] == as_values[:3]
    assert as_indices.active.tolist() == as_values.active.tolist()


def test_levels_decide_how_far_an_index_reaches():
    s = full_grid(2, 2)
    assert infomec(s, s).active.tolist() == [True, True]  # two levels: from -1 to 1
    assert infomec(s, s, levels=41).active.tolist() == [False, False]  # of 41: a step of 1/20


def test_active_latents_by_hand():
    wide, narrow = np.linspace(-1, 1, 101), np.linspace(-0.1, 0.1, 101)  # interquartile ranges 1 and 0.1
    assert active_latents(np.column_stack([wide, 0.99 * narrow, 1.01 * narrow]), True).tolist() == [True, False, True]
    assert active_latents(np.column_stack([wide, 0.99 * narrow, 1.01 * narrow]), False).tolist() == [True, False, True]
    assert active_latents(100 * np.column_stack([wide, 0.99 * narrow]), False).tolist() == [True, False]


def test_continuous_copies_of_the_sources():
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, k, 2000) for k in (3, 5)], axis=1)
    z = 40 * s + rng.uniform(-1, 1, (2000, 2))
    scores = infomec(s, z, discrete=False)
    assert scores[:3] == pytest.approx((1, 1, 1), abs=0.02)
    assert np.diag(scores.nmi) == pytest.approx(1, abs=0.01)


def test_continuous_information_of_overlapping_uniforms():
    # s a fair bit, z uniform on [s, s + 2]: they overlap half the time, then z tells nothing: I = log 2 / 2.
    rng = np.random.default_rng(0)
    s = rng.integers(0, 2, (4000, 1))
    z = s + rng.uniform(0, 2, (4000, 1))
    assert normalized_information(s, z, discrete=False)[0, 0] == pytest.approx(0.5, abs=0.03)
    assert normalized_information(s, -7 * z + 3, discrete=False)[0, 0] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("discrete", [True, False])
def test_explicitness_equals_scikit_learns(discrete):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from threadpoolctl import threadpool_limits

    s, z = random_code(3, n=400)
    s[s[:, 1] >= 2, 1] -= 1  # unbalanced classes
    x = (OneHotEncoder(sparse_output=False) if discrete else StandardScaler()).fit_transform(z)
    expected = []
    for y in s.T:
        y = np.unique(y, return_inverse=True)[1]
        model = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-6, max_iter=5000)
        with threadpool_limits(1):
            model.fit(x, y)
        omega = 1 / np.bincount(y)[y] / (y.max() + 1)
        likelihood = model.predict_proba(x)[np.arange(len(y)), y]
        expected.append(1 + omega @ np.log(likelihood) / np.log(y.max() + 1))
    assert explicitness(s, z, discrete) == pytest.approx(np.array(expected), abs=1e-4)


def test_explicitness_equals_scikit_learns_on_a_larger_code():
    """Sources of 3, 5 and 8 classes, unbalanced, and six latents of twelve levels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(5)
    s = np.stack([np.minimum(rng.integers(0, k + 2, 1500), k - 1) for k in (3, 5, 8)], axis=1)
    mix = s @ rng.normal(size=(3, 6)) + 3 * rng.normal(size=(1500, 6))
    z = np.clip(np.round((mix - mix.mean(axis=0)) / mix.std(axis=0) * 2.5), -6, 5).astype(int) + 6
    x = OneHotEncoder(drop="first").fit_transform(z)
    expected = []
    for y in s.T:
        model = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-5, max_iter=2000)
        with threadpool_limits(1):
            model.fit(x, y)
        loss = -np.log(model.predict_proba(x)[np.arange(len(y)), y])
        expected.append(1 - np.mean([loss[y == k].mean() for k in np.unique(y)]) / np.log(y.max() + 1))
    assert 0.1 < min(expected) < max(expected) < 0.9
    assert explicitness(s, z) == pytest.approx(np.array(expected), abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_modularity_and_compactness_equal_the_loops(seed):
    s, z = random_code(seed, n=60)
    z[:, 1] = [3] * 55 + [0] * 5  # not active
    scores = infomec(s, z)
    assert scores.active.tolist() == [True, False, True, True]
    nmi = [[slow_information(a, b) / slow_information(a, a) for b in z.T[[0, 2, 3]]] for a in s.T]
    infom = np.mean([(max(c) / sum(c) - 1 / 3) / (1 - 1 / 3) for c in zip(*nmi, strict=True)])
    infoc = np.mean([(max(r) / sum(r) - 1 / 3) / (1 - 1 / 3) for r in nmi])
    assert scores[:2] == pytest.approx((infom, infoc), abs=1e-6)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_noise_stays_in_range(seed):
    rng = np.random.default_rng(seed)
    s = np.stack([rng.permutation(np.arange(60) % k) for k in (3, 4, 5)], axis=1)
    z = rng.integers(0, rng.integers(2, 7, 4), (60, 4))
    scores = infomec(s, z, levels=7)
    assert all(0 <= score <= 1 for score in scores[:3])
    assert ((scores.nmi >= 0) & (scores.nmi <= 1)).all()


def test_few_latents_divide_nothing_by_nothing():
    s = full_grid(3, 4)
    with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise", over="raise"):
        warnings.simplefilter("error")
        for discrete in (True, False):
            assert infomec(s, np.full((12, 2), 0.1), discrete)[:3] == (0, 0, 0)
            one = infomec(s, np.column_stack([s[:, 0] - 1, np.zeros(12)]), discrete)
            assert one.active.tolist() == [True, False]
            assert one[:2] == pytest.approx((1, 1 / 2))
        assert infomec(s[:, :1], s[:, :1])[:3] == pytest.approx((1, 1, 1), abs=1e-4)  # one source, one latent
        assert infomec(s[:, :1], s[:, 1:])[:3] == pytest.approx((0, 0, 0), abs=1e-4)


def test_a_latent_held_twice_tells_no_more():
    s = full_grid(3, 4)
    z = np.column_stack([s[:, 0] % 2, s[:, 1]])
    once, twice = explicitness(s, z), explicitness(s, z[:, [0, 1, 0, 1]])
    assert twice == pytest.approx(once, abs=1e-4)
    # Classes 0 and 2 of source 0 share a level: two of three classes keep a bit.
    assert once == pytest.approx((1 - 2 / 3 * math.log(2, 3), 1), abs=1e-4)


def test_a_level_for_each_sample_tells_all():
    s = full_grid(3, 4)
    assert infomec(s, np.arange(12)[:, None]).nmi == pytest.approx(1, abs=1e-12)
    assert infomec(s, np.arange(12)[:, None])[:3] == pytest.approx((0, 1, 1), abs=1e-4)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_dtypes_do_not_matter(dtype):
    s = full_grid(2, 2)
    z = np.column_stack([s[:, 0], s[:, 0] & s[:, 1]])
    factors = s if dtype == np.float32 else s.astype(dtype)
    assert infomec(factors, z.astype(dtype))[:3] == pytest.approx(infomec(s, z)[:3], abs=1e-6)


def test_constant_inputs_know_only_the_classes():
    y = np.array([[0], [0], [0], [1], [2]])
    losses = least_losses(np.ones((5, 2)), y)[:, 0]
    assert np.mean([losses[:3].mean(), losses[3], losses[4]]) == pytest.approx(math.log(3), abs=1e-6)


S, Z = full_grid(3, 4), full_grid(3, 4)


@pytest.mark.parametrize(
    ("error", "match", "factors", "latents", "options"),
    [
        (ValueError, "factors must have shape", S[:, 0], Z, {}),
        (ValueError, "latents must have shape", S, Z[:, :0], {}),
        (ValueError, "12 and 11 rows", S, Z[1:], {}),
        (TypeError, "factors must be integer", S / 2, Z, {}),
        (TypeError, "latents must hold real numbers", S, Z.astype(str), {}),
        (TypeError, "latents must hold real numbers", S, Z.astype(complex), {}),
        (ValueError, "NaN or infinity in column 1", S, np.where(Z == 3, np.nan, Z / 3), {}),
        (ValueError, "column 1 is constant", S * [1, 0], Z, {}),
        (ValueError, "indices from 0 to 2", S, Z, {"levels": 3}),
        (ValueError, "levels must be at least 2", S, Z, {"levels": 1}),
        (ValueError, "-1 to 2", S, Z - 1, {}),
        (ValueError, "more than 10 samples", S[:10], Z[:10] / 4, {"discrete": False}),
        (ValueError, "pass discrete=False", full_grid(2, 200), np.linspace(-1, 1, 400)[:, None], {}),
    ],
)
def test_bad_input(error, match, factors, latents, options):
    with pytest.raises(error, match=match):
        infomec(factors, latents, **options)


def test_levels_must_be_an_integer(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the function's own message, as users meet it
    with pytest.raises(TypeError, match=r"levels must be an integer, got 4\.0"):
        infomec(S, Z, levels=4.0)


def test_a_resample_without_a_class_keeps_the_number_of_classes():
    # Two of three classes are left, both with a loss of 0.3 nats: 1 - 0.3 / log 3; with only one of them as well.
    for rows in ([[0], [2]], [[0], [1]], [[0], [0]]):
        score = explicitness_of_losses(np.array(rows), np.full((2, 1), 0.3), np.array([3]))
        assert score == pytest.approx(1 - 0.3 / math.log(3), abs=1e-12)


def test_continuous_latents_need_a_value_that_occurs_twice():
    with pytest.raises(ValueError, match="all of column 0 differ"):
        infomec(np.arange(12)[:, None], np.random.default_rng(0).normal(size=(12, 1)), discrete=False)


def test_levels_are_checked_for_grid_values_too():
    with pytest.raises(ValueError, match="levels must be at least 2, got 1"):
        infomec(S, Z / 3, levels=1)
