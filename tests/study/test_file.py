"""The study file: layers in their order, defaults, and what is refused."""

import re

import pytest
from studies import CONTENT, study_of

from hqdm.cli.configuration import read_configuration
from hqdm.storage.shipped import shipped
from hqdm.study.cells import training_keys
from hqdm.study.file import STUDY_KEYS, Question, parse_study, words
from hqdm.utils.errors import HQDMError

STUDIES = sorted((shipped("configs") / "studies").glob("*.yaml"))


def test_layers_of_a_control_are_over_its_model_and_the_data_last(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {}")
    content = {
        **CONTENT,
        "models": {"circuits": {"config": ["mine.yaml", "digits_qvunet"], "trainer": {"a": 1}}},
    }
    study = parse_study(content, tmp_path / "study.yaml")
    assert study.layers("digits", "classical") == [
        str(tmp_path / "mine.yaml"),  # beside the study
        "digits_qvunet",
        {"trainer": {"a": 1}},
        {"model": {"network": {"hybrid": {}}}},
        {"data": {"name": "digits", "split": "train[:-237]", "val_split": "train[-237:]"}},
    ]
    assert study.models["classical"].of == "circuits"
    assert words(["x", {"a": [1]}]) == ["--config", "x", "--config", '{"a": [1]}']


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_studies_of_the_package_are_studies(file):
    study = parse_study(read_configuration(file), file)
    assert study.questions
    assert study.models


def test_by_default_a_model_is_compared_with_its_controls():
    study = study_of(scores=["loss", "silenced", "fid"])
    assert study.questions == (
        Question("circuits", "classical", "loss"),
        Question("circuits", "classical", "fid"),
    )
    own = study_of(questions=[{"model": "classical", "against": "circuits"}])
    assert own.questions == (Question("classical", "circuits", "loss"),)
    assert study_of(controls=...).questions == ()


WRONG = [
    ({"seed": [1]}, "unknown key 'seed': expected one of"),
    ({"seeds": ...}, "the key seeds is missing"),
    ({"seeds": []}, "seeds: expected one or more random seeds"),
    ({"seeds": [1, 1]}, "the random seed 1 stands twice, and would count twice"),
    ({"seeds": [-1]}, "seeds needs a whole number from 0, got -1"),
    ({"seeds": 3}, "seeds: expected a list of whole numbers, got 3"),
    ({"steps": 0}, "steps needs a whole number from 1, got 0"),
    ({"models": {}}, "models: expected one or more"),
    ({"models": {"circuits": 3}}, "models.circuits: expected keys with values"),
    ({"models": {"circuits": {"config": 3}}}, "models.circuits.config: expected a list of texts"),
    ({"models": {"circuits": {"out": "x"}}}, "models.circuits.out is set by the study"),
    ({"data": {"digits": {"seed_everything": 1}}}, "data.digits.seed_everything is set by the"),
    ({"controls": {"c": {"of": ["circuits"]}}}, "controls.c.of"),
    ({"controls": {"c": {"of": "circuit"}}}, "controls.c.of 'circuit': expected one of circuits"),
    ({"controls": {"c": {}}}, "unknown model in controls.c.of None"),
    ({"controls": {"circuits": {"of": "circuits"}}}, "controls.circuits: a model has this name"),
    ({"scores": ["los"]}, "unknown score 'los'"),
    ({"scores": []}, "scores: expected one or more"),
    (
        {"questions": [{"model": "circuits", "against": "frozen"}]},
        "unknown model in questions[0] 'frozen': expected one of circuits, classical",
    ),
    ({"questions": [{"model": "circuits"}]}, "the key questions[0].against is missing"),
    (
        {"questions": [{"model": "circuits", "against": "classical", "score": "fid"}]},
        "unknown score in questions[0] 'fid': expected one of loss",
    ),
    (
        {"questions": [{"model": "circuits", "against": "circuits"}]},
        "questions[0] compares circuits with itself",
    ),
    (
        {
            "scores": ["silenced"],
            "questions": [{"model": "circuits", "against": "classical", "score": "silenced"}],
        },
        "questions[0].score: silenced describes one model",
    ),
    ({"scores": ["loss", "fid", "loss"]}, "the score loss stands twice"),
    (
        {"questions": [{"model": "circuits", "against": "classical"}] * 2},
        "the question circuits and classical by loss stands twice",
    ),
    (
        {
            "questions": [
                {"model": "circuits", "against": "classical"},
                {"model": "classical", "against": "circuits", "score": "loss"},
            ]
        },
        "the question circuits and classical by loss stands twice",
    ),
    ({"models": {"circuits": {"sample_every": 5}}}, "models.circuits.sample_every is set by the"),
    (
        {"controls": {"c": {"of": "circuits", "trainer": {"max_steps": 5}}}},
        "controls.c.trainer.max_steps is set by the study: leave it out",
    ),
    ({"data": {"d": {"trainer.max_epochs": 5}}}, "data.d.trainer.max_epochs is set by the study"),
    (
        {"models": {"c": {"model": {"network": {"hybrid": {"vertex": {"kernel_size": "3"}}}}}}},
        "models.c.model.network.hybrid.vertex.kernel_size: expected a number, got the text '3'",
    ),
    (
        {"search": {"trials": 2, "steps": 1, "seed": 2}},
        "search.seed 2 is one of seeds, whose trainings would be those by which",
    ),
    ({"search": {"trials": 2}}, "the key search.steps is missing"),
    ({"search": {"trials": 2, "steps": 1, "lo": 1}}, "unknown key of search 'lo'"),
    ({"search": {"trials": 0, "steps": 1}}, "search.trials needs a whole number from 1"),
    (
        {"search": {"trials": 1, "steps": 1, "low": 1.0, "high": 0.1}},
        "search needs learning rates 0 < low <= high, got 1.0 and 0.1",
    ),
    ({"samples": {"sampler": "unipcc"}}, "unknown sampler 'unipcc'"),
    ({"interval": "percentile"}, "unknown interval 'percentile': expected one of bootstrap, t"),
    ({"interval": 3}, "interval: expected text, got 3"),
    ({"difference": 0}, "difference needs a positive number, got 0"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(HQDMError, match=re.escape(message)) as error:
        study_of(**changes)
    assert str(error.value).startswith("s.yaml: ")
    assert "\n" not in str(error.value)


def test_what_a_study_sets_is_not_given():
    """Every key of the cells; other texts than numbers, and numbers like 1e-3, are kept."""
    keys = training_keys(0, 1)
    own = {key for key in keys if key != "trainer"} | {f"trainer.{key}" for key in keys["trainer"]}
    assert own <= set(STUDY_KEYS)
    given = {"model": {"lr": "1e-3", "network": {"name": "UNet"}}, "trainer": {"precision": "32"}}
    assert study_of(models={"circuits": given}).models["circuits"].layers == (given,)


def test_another_content_is_no_study(tmp_path):
    with pytest.raises(HQDMError, match="expected the keys of a study"):
        parse_study([1], tmp_path / "s.yaml")
