"""The settings on which a score depends."""

import pytest

from hqdm.study.scores.names import IMAGES, IMPORTANCE, STATES
from hqdm.study.scores.protocol import Protocol, Samples, kind_of
from hqdm.utils.errors import HQDMError

OF_IMAGES, OF_STATES = {"name": "digits"}, {"ensemble": "cluster"}


def test_what_a_score_of_images_depends_on():
    protocol = Protocol(OF_IMAGES, 3, Samples(n=16))
    assert protocol.settings("fid") == {"n": 16, "sampler": "unipc", "steps": None}
    assert protocol.settings("loss") == protocol.settings(IMPORTANCE) == {"images": 1024}


def test_what_a_score_of_states_depends_on():
    """The sampler is one of images."""
    protocol = Protocol(OF_STATES, 3, Samples(n=16, sampler="ddim"))
    assert protocol.settings("mmd") == {"n": 16}
    assert protocol.settings("loss") == {"states": 1024}


def test_the_kind_of_a_model_follows_from_its_data():
    assert [kind_of(data) for data in (OF_IMAGES, OF_STATES)] == [IMAGES, STATES]


def test_two_samples_are_the_least():
    with pytest.raises(HQDMError, match="samples.n needs a whole number from 2"):
        Samples(n=1)
