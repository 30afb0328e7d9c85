"""Names of scores: what a report may do with each."""

from hqdm.study.scores.names import CHANGED, IMAGES, SAMPLED, SCORES, STATES


def test_scores_that_may_be_zero_or_negative_are_compared_by_differences():
    differences = {name for name, score in SCORES.items() if not score.relative}
    assert differences == {"kid", "infidelity", "centre_infidelity", "mmd", "wasserstein"}


def test_each_kind_of_model_has_a_loss_and_scores_of_samples():
    for kind in (IMAGES, STATES):
        names = {name for name, score in SCORES.items() if score.of in (None, kind)}
        assert {"loss", "val_loss"} <= names
        assert names & SAMPLED
    assert {"silenced", "random_angles"} == CHANGED
