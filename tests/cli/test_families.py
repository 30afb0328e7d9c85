"""The family of a run follows from `data.ensemble`, in a file or in an argument."""

import pytest

from hqdm.cli.families import OF_IMAGES, family_of, of_states


@pytest.mark.parametrize(
    ("configurations", "args", "is_states"),
    [
        ([{"data": {"ensemble": "cluster"}}], [], True),
        ([], ["--data.ensemble", "haar"], True),
        ([], ["--data.ensemble=haar"], True),
        ([{"data": {"name": "digits"}}], ["--data.size", "8"], False),
        ([], [], False),
    ],
)
def test_family(configurations, args, is_states):
    assert family_of(configurations, args) == (of_states() if is_states else OF_IMAGES)


def test_options_of_images_are_refused_for_a_configuration_of_states(refused):
    line = refused("inspect", "--config", "qgdm_1q", "--spectrum")
    assert line == "error: --spectrum does not apply to a model of quantum states: leave it out"
