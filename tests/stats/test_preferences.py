"""Bradley-Terry against statsmodels' logistic regression and known truths; alpha against Krippendorff's own."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.stats.preferences import bradley_terry, fit_strengths, ordinal_alpha


def simulate(strengths, rng, raters=12, prompts=20, tie=0.0):
    names = list(strengths)
    rows = []
    for rater in range(raters):
        for prompt in range(prompts):
            left, right = rng.choice(names, 2, replace=False)
            a, b = np.exp(strengths[left]), np.exp(strengths[right])
            weights = np.array([a, b, tie * np.sqrt(a * b)])
            vote = rng.choice(["left", "right", "tie"], p=weights / weights.sum())
            rows.append((left, right, vote, f"r{rater}", f"p{prompt}"))
    return pd.DataFrame(rows, columns=["left", "right", "vote", "rater", "prompt_id"])


def test_without_ties_it_is_logistic_regression():
    votes = simulate({"a": 0.8, "b": 0.0, "c": -0.8}, np.random.default_rng(0))
    wins = np.zeros((3, 3))
    for row in votes.itertuples():
        won, lost = (row.left, row.right) if row.vote == "left" else (row.right, row.left)
        wins["abc".index(won), "abc".index(lost)] += 1
    strengths, tie = fit_strengths(wins, np.zeros((3, 3)), prior_deviation=np.inf)
    design = np.zeros((len(votes), 3))
    for position, row in enumerate(votes.itertuples()):
        design[position, "abc".index(row.left)], design[position, "abc".index(row.right)] = 1, -1
    fitted = sm.Logit((votes["vote"] == "left").astype(float), design[:, 1:]).fit(disp=0).params.to_numpy()
    expected = np.array([0, *fitted])
    assert strengths == pytest.approx(expected - expected.mean(), abs=1e-6)
    assert tie == -np.inf


def test_ties_are_kept_and_the_truth_is_covered():
    truth = {"v1": -0.6, "v2": 0.0, "v3": 0.6}
    votes = simulate(truth, np.random.default_rng(3), raters=20, prompts=40, tie=1.0)
    result = bradley_terry(votes, np.random.default_rng(0), resamples=200)
    assert [row.model for row in result.strengths] == ["v3", "v2", "v1"]
    for row in result.strengths:
        assert row.low <= truth[row.model] <= row.high
        assert row.low < row.strength < row.high
    assert result.tie == pytest.approx(0.0, abs=0.3)
    assert result.tie_share == pytest.approx((votes["vote"] == "tie").mean())
    assert result.win_probability.loc["v3", "v1"] == pytest.approx(1 / (1 + np.exp(-1.2)), abs=0.08)
    assert (result.votes, result.raters, result.prompts) == (800, 20, 40)


def test_a_model_that_never_lost_stays_finite_and_swapping_sides_changes_nothing():
    votes = pd.DataFrame(
        {"left": "new", "right": "old", "vote": "left", "rater": list("abcd"), "prompt_id": list("wxyz")}
    )
    result = bradley_terry(votes, np.random.default_rng(0), resamples=50)
    assert result.strengths[0].model == "new"
    assert np.isfinite(result.strengths[0].strength)
    mirrored = votes.rename(columns={"left": "right", "right": "left"}).assign(vote="right")
    again = bradley_terry(mirrored, np.random.default_rng(0), resamples=50)
    assert again.strengths == result.strengths


def test_few_raters_widen_the_interval():
    rng = np.random.default_rng(1)
    # Every rater has a mind of their own: votes of one rater agree with each other.
    rows = [
        ("a", "b", "left" if lean > 0 else "right", f"r{rater}", f"p{prompt}")
        for rater, lean in enumerate(rng.normal(0.2, 1, 6))
        for prompt in range(40)
    ]
    votes = pd.DataFrame(rows, columns=["left", "right", "vote", "rater", "prompt_id"])
    clustered = bradley_terry(votes, np.random.default_rng(0), resamples=200).strengths[0]
    apart = votes.assign(
        rater=[f"r{i}" for i in range(len(votes))], prompt_id=[f"p{i}" for i in range(len(votes))]
    )
    naive = bradley_terry(apart, np.random.default_rng(0), resamples=200).strengths[0]
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"vote": "maybe"}, "unknown votes"), ({"right": "a", "left": "a"}, "with itself")],
)
def test_bad_votes_are_refused(change, message):
    votes = pd.DataFrame(
        {"left": ["a"], "right": ["b"], "vote": ["left"], "rater": ["r"], "prompt_id": ["p"]}
    )
    with pytest.raises(ValueError, match=message):
        bradley_terry(votes.assign(**change), np.random.default_rng(0))
    with pytest.raises(ValueError, match="no votes"):
        bradley_terry(votes.iloc[:0], np.random.default_rng(0))


def test_alpha_of_krippendorffs_own_example():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", data C: ordinal alpha 0.815.
    nan = np.nan
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    rows = [(unit, rater, value) for rater, line in enumerate(data) for unit, value in enumerate(line)]
    ratings = pd.DataFrame(rows, columns=["unit", "rater", "rating"]).dropna()
    assert ordinal_alpha(ratings) == pytest.approx(0.815, abs=5e-4)


def test_alpha_of_agreement_chance_and_nothing():
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 2, 300)
    agree = pd.DataFrame({"unit": np.repeat(np.arange(300), 2), "rater": 0, "rating": np.repeat(truth, 2)})
    assert ordinal_alpha(agree) == pytest.approx(1.0)
    assert ordinal_alpha(agree.assign(rating=rng.integers(-1, 2, 600))) == pytest.approx(0.0, abs=0.15)
    assert ordinal_alpha(agree.assign(rating=1)) is None
    assert ordinal_alpha(agree.iloc[::2]) is None
    assert ordinal_alpha(agree.iloc[:0]) is None
