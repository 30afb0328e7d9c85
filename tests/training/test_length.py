"""The length of a run: whichever limit is reached first."""

import math
from datetime import timedelta

import pytest
from lightning import Trainer

from hqdm.training.length import Length, StepLimit, seconds_to_limit


def trainer(*callbacks, **options):
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return Trainer(accelerator="cpu", callbacks=list(callbacks), **quiet, **options)


@pytest.mark.parametrize(
    ("options", "own", "steps", "epochs"),
    [
        ({"max_epochs": 3}, (), 21, 3),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, (), 12, 3),
        ({"max_steps": 15}, (), 15, 3),
        ({"max_epochs": -1}, (StepLimit(14),), 14, 2),
        ({"max_epochs": 9}, (StepLimit(15),), 15, 3),
        ({"max_epochs": 2}, (StepLimit(15),), 14, 2),
        ({"max_epochs": -1}, (), math.inf, math.inf),
    ],
)
def test_the_first_limit_counts(options, own, steps, epochs):
    """Seven batches per epoch."""
    assert Length.of(trainer(*own, **options), 7) == Length(steps, epochs)


def test_epochs_of_unknown_length_limit_no_steps():
    assert Length.of(trainer(max_epochs=3), math.inf) == Length(math.inf, 3)
    assert Length.of(trainer(StepLimit(5), max_epochs=3), math.inf) == Length(5, 3)


def test_seconds_are_those_of_max_time():
    assert seconds_to_limit(trainer(max_epochs=1)) == math.inf
    limited = trainer(max_time=timedelta(minutes=2))
    assert seconds_to_limit(limited) == pytest.approx(120, abs=1)
