"""The study file: data sets, models, their controls, random seeds, scores and questions.

    data:                        # each with keys of `hqdm fit`, over those of the models
      digits: {data: {name: digits, size: 8}}
    models:                      # config: names or files, as `hqdm fit --config A --config B`
      circuits: {config: digits_qvunet, model: {predict: v}}
    controls:                    # models over the one that they control
      classical: {of: circuits, model: {network: {hybrid: {}}}}
    seeds: [0, 1, 2, 3, 4]
    steps: 1000
    scores: [loss, fid]          # default: loss
    samples: {n: 1024, sampler: unipc, steps: 10}
    search: {trials: 6, steps: 300, low: 0.0003, high: 0.01}
    questions:                   # default: each model against each of its controls
      - {model: circuits, against: classical, score: loss}
    interval: t                  # or bootstrap: the studentised one
    importance: true             # measure the importance of the places of each model, too
    difference: 0.01             # of which the report gives the number of seeds needed

A model is a sequence of layers, of which later ones replace keys of earlier ones: those of the
model, or of the model that it controls and its own; those of the data set; those of the study.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hqdm.study.scores.names import IMPORTANCE, SCORES
from hqdm.study.scores.protocol import Samples
from hqdm.study.statistics import INTERVALS
from hqdm.utils.checks import check_fields, check_types, dotted, finite, whole
from hqdm.utils.errors import HQDMError, about, check_names, unknown

Layer = str | Mapping[str, Any]
"""A configuration of `hqdm fit` by name or file, or its keys."""

MAX_TRIALS = 1000
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")  # in YAML 1e-3 is text without quotation marks
STUDY_KEYS = (
    *("seed_everything", "out", "resume", "overwrite", "sample_every"),
    *("trainer.max_steps", "trainer.max_epochs", "trainer.enable_progress_bar"),
)
"""Keys of `hqdm fit` that a study sets."""


@dataclass(frozen=True)
class Model:
    """A model of a study.

    Attributes:
        name: Its name.
        layers: Its configurations, in order.
        of: The model that it controls; None if it is no control.
    """

    name: str
    layers: tuple[Layer, ...]
    of: str | None = None


@dataclass(frozen=True)
class Question:
    """Two models that are compared.

    Attributes:
        model: The first model.
        against: The second model.
        score: The score.
    """

    model: str
    against: str
    score: str


@dataclass(frozen=True)
class Search:
    """The search of a learning rate for each model and data set.

    Attributes:
        trials: Number of learning rates tried, the same for each model.
        steps: Training steps of a trial.
        low: Least learning rate.
        high: Largest learning rate.
        seed: Random seed of the training, which should be none of the study's, and of the search.
    """

    trials: int
    steps: int
    low: float = 1e-4
    high: float = 1e-2
    seed: int = 1000

    def __post_init__(self) -> None:
        whole("search.trials", self.trials, 1, MAX_TRIALS)
        whole("search.steps", self.steps, 1)
        whole("search.seed", self.seed)
        if not 0 < finite("search.low", self.low) <= finite("search.high", self.high):
            raise HQDMError(
                f"search needs learning rates 0 < low <= high, got {self.low} and {self.high}"
            )


@dataclass(frozen=True)
class Study:
    """A study: every model is trained on every data set with every random seed.

    Attributes:
        data: Layers of each data set, by its name.
        models: The models and controls.
        seeds: Random seeds.
        steps: Training steps.
        scores: Names of the scores.
        questions: The comparisons.
        samples: How samples are drawn for scores of samples.
        search: The search of learning rates; None keeps those of the configurations.
        importance: Whether the importance of the places of each model is measured.
        interval: The kind of interval, one of `hqdm.study.statistics.INTERVALS`.
        difference: The difference of which the report gives the number of seeds needed.
    """

    data: Mapping[str, tuple[Layer, ...]]
    models: Mapping[str, Model]
    seeds: tuple[int, ...]
    steps: int
    scores: tuple[str, ...] = ("loss",)
    questions: tuple[Question, ...] = ()
    samples: Samples = field(default_factory=Samples)
    search: Search | None = None
    importance: bool = False
    interval: str = INTERVALS[0]
    difference: float = 0.01

    @property
    def asked(self) -> tuple[str, ...]:
        """The measurements of each model: its scores, and the importance of its places."""
        return (*self.scores, IMPORTANCE) if self.importance else self.scores

    @property
    def measured(self) -> tuple[str, ...]:
        """The data sets on which the importance of places is measured."""
        return tuple(self.data) if self.importance else ()

    def layers(self, data: str, model: str) -> list[Layer]:
        """The layers of a model on a data set."""
        return [*self.models[model].layers, *self.data[data]]


def words(layers: Iterable[Layer]) -> list[str]:
    """Layers as arguments of `hqdm fit`."""
    texts = (layer if isinstance(layer, str) else json.dumps(layer) for layer in layers)
    return [word for text in texts for word in ("--config", text)]


def parse_study(content: object, file: Path) -> Study:
    """A study from the content of its file.

    Args:
        content: The content.
        file: The file: configurations are looked for beside it, too.

    Raises:
        HQDMError: If it is no study; the message begins with the file.
    """
    with about(file):
        if not isinstance(content, Mapping):
            raise HQDMError("expected the keys of a study: data, models, seeds, steps")
        check_fields_of_study(content)
        models = _models(content, file.parent)
        scores = tuple(content.get("scores", ("loss",)))
        if not scores:
            raise HQDMError("scores: expected one or more")
        check_names("score", scores, SCORES)
        _check_once("score", scores)
        search = Search(**_options(content, "search", Search)) if "search" in content else None
        interval = content.get("interval", INTERVALS[0])
        check_names("interval", [interval], INTERVALS)
        seeds = _seeds(content["seeds"])
        if search and search.seed in seeds:
            raise HQDMError(
                f"search.seed {search.seed} is one of seeds, whose trainings would be those by "
                "which the learning rate was selected: set another one"
            )
        difference = finite("difference", content.get("difference", 0.01))
        if difference <= 0:
            raise HQDMError(f"difference needs a positive number, got {difference}")
        return Study(
            data={
                str(name): _layers(f"data.{name}", keys, file.parent)
                for name, keys in _named(content, "data").items()
            },
            models=models,
            seeds=seeds,
            steps=whole("steps", content["steps"], 1),
            scores=scores,
            questions=_questions(content.get("questions"), models, scores),
            samples=Samples(**_options(content, "samples", Samples)),
            search=search,
            importance=content.get("importance", False),
            interval=interval,
            difference=difference,
        )


def check_fields_of_study(content: Mapping[str, Any]) -> None:
    """Refuse unknown keys, missing ones, and values of other types.

    Raises:
        HQDMError: For the first of them.
    """
    needed = {"data": dict, "models": dict, "seeds": list[int], "steps": int}
    other = {
        **{"controls": dict, "scores": list[str], "questions": list[dict]},
        **{"samples": dict, "search": dict, "importance": bool},
        **{"interval": str, "difference": float},
    }
    check_names("key", content, (*needed, *other))
    for key in needed:
        if key not in content:
            raise HQDMError(f"the key {key} is missing")
    check_types(content, {**needed, **other})


def _seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds:
        raise HQDMError("seeds: expected one or more random seeds")
    for seed in seeds:
        whole("seeds", seed)
    _check_once("random seed", seeds)
    return tuple(seeds)


def _check_once(kind: str, given: Sequence[object]) -> None:
    """Refuse what stands twice, and would count twice."""
    for value in given:
        if given.count(value) > 1:
            raise HQDMError(f"the {kind} {value} stands twice, and would count twice: keep one")


def _named(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The entries of a section by name.

    Raises:
        HQDMError: If there are none.
    """
    entries: Mapping[str, Any] = content[key]
    if not entries:
        raise HQDMError(f"{key}: expected one or more, each with a name")
    return entries


def _options(content: Mapping[str, Any], key: str, cls: type) -> dict[str, Any]:
    """The options of a section that are fields of a dataclass.

    Raises:
        HQDMError: If one is unknown, missing or of another type.
    """
    options = dict(content.get(key, {}))
    check_fields(f"key of {key}", options, cls, f"{key}.")
    for name in ("trials", "steps") if cls is Search else ():
        if name not in options:
            raise HQDMError(f"the key {key}.{name} is missing")
    return options


def _models(content: Mapping[str, Any], folder: Path) -> dict[str, Model]:
    """Models and controls by name."""
    models = {
        str(name): Model(str(name), _layers(f"models.{name}", keys, folder))
        for name, keys in _named(content, "models").items()
    }
    for name, keys in content.get("controls", {}).items():
        where, of = f"controls.{name}", keys.get("of") if isinstance(keys, Mapping) else None
        if name in models:
            raise HQDMError(f"{where}: a model has this name")
        if not isinstance(of, str) or of not in models:
            raise unknown(f"model in {where}.of", of, models)
        own = {key: value for key, value in keys.items() if key != "of"}
        layers = (*models[of].layers, *_layers(where, own, folder))
        models[str(name)] = Model(str(name), layers, of)
    return models


def _layers(where: str, keys: object, folder: Path) -> tuple[Layer, ...]:
    """The configurations of an entry, then its keys."""
    if keys is None or not isinstance(keys, Mapping):
        raise HQDMError(f"{where}: expected keys with values: config, and keys of `hqdm fit`")
    configs = keys.get("config", [])
    configs = [configs] if isinstance(configs, str) else configs
    check_types({"config": configs}, {"config": list[str]}, f"{where}.")
    for key, value in dotted(keys):
        if key in STUDY_KEYS:
            raise HQDMError(f"{where}.{key} is set by the study: leave it out")
        if key.startswith("model.") and isinstance(value, str) and NUMBER.fullmatch(value):
            raise HQDMError(
                f"{where}.{key}: expected a number, got the text {value!r}: leave the quotation "
                "marks out"
            )
    files = [_located(config, folder) for config in configs]
    own = {key: value for key, value in keys.items() if key != "config"}
    return (*files, own) if own else tuple(files)


def _located(config: str, folder: Path) -> str:
    """A file beside the study or in the current folder, or else the name of a configuration."""
    files = (path for path in (folder / config, Path(config)) if path.is_file())
    return next((str(path.absolute()) for path in files), config)


def _questions(
    given: Sequence[Mapping[str, Any]] | None, models: Mapping[str, Model], scores: Sequence[str]
) -> tuple[Question, ...]:
    """The questions; by default each model against each of its controls, by each score."""
    if given is None:
        return tuple(
            Question(control.of, control.name, score)
            for control in models.values()
            if control.of is not None
            for score in scores
            if not SCORES[score].change
        )
    questions = [_question(f"questions[{i}]", keys, models, scores) for i, keys in enumerate(given)]
    _check_once(
        "question",
        [f"{' and '.join(sorted((q.model, q.against)))} by {q.score}" for q in questions],
    )
    return tuple(questions)


def _question(
    where: str, keys: Mapping[str, Any], models: Mapping[str, Model], scores: Sequence[str]
) -> Question:
    check_fields(f"key of {where}", keys, Question, f"{where}.")
    for key in ("model", "against"):
        if key not in keys:
            raise HQDMError(f"the key {where}.{key} is missing")
        check_names(f"model in {where}", [keys[key]], models)
    if keys["model"] == keys["against"]:
        raise HQDMError(f"{where} compares {keys['model']} with itself")
    score = keys.get("score", scores[0])
    check_names(f"score in {where}", [score], scores)
    if SCORES[score].change:
        raise HQDMError(f"{where}.score: {score} describes one model and is not compared")
    return Question(keys["model"], keys["against"], score)
