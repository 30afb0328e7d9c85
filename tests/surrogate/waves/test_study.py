"""Wave functions of fitted flows: convergence to the density of the flow."""

import numpy as np
import pytest
from surrogate_fits import fitted

from hqdm.carleman.waves.hamiltonian import DIFFERENCES
from hqdm.surrogate.waves.study import Waves, study
from hqdm.utils.errors import HQDMError


@pytest.fixture(scope="module", params=[1, 2])
def report(request):
    options = Waves("", qubits=(5, 4), steps=32, products=(16, 32), n=50)
    return study(fitted(request.param), options)


def test_finer_grids_and_higher_orders_are_nearer_to_the_density(report):
    table = {(row["derivative"], row["qubits"]): row["total_variation"] for row in report["grids"]}
    assert set(table) == {(name, qubits) for name in DIFFERENCES for qubits in (4, 5)}
    for name in DIFFERENCES:
        assert table[name, 5] < table[name, 4] / 2
    assert table["difference4", 5] < table["difference2", 5] < 0.03
    assert report["grids"][-1]["inside"] == pytest.approx(1, abs=1e-3)


def test_products_converge_to_the_exponentials(report):
    few, many = report["products"]
    assert few["splitting"] / many["splitting"] == pytest.approx(4, rel=0.25)
    assert many["rotations"] == 2 * few["rotations"]
    assert few["largest_weight"] == 3  # the polynomial is quadratic


def test_the_picture_has_the_moments_of_its_samples(report):
    dim = report["dim"]
    samples = np.array(report["samples"])
    probabilities = np.array(report["probabilities"])
    assert samples.shape == (50, dim)
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    axis = np.linspace(-4.5, 4.5, 32, endpoint=False) + 4.5 / 32
    marginal = probabilities.reshape(32, -1).sum(1)
    mean, variance = marginal @ axis, marginal @ axis**2 - (marginal @ axis) ** 2
    # five standard errors of the mean of 50 samples
    assert samples[:, 0].mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / 50))


def test_bad_input_is_refused():
    with pytest.raises(HQDMError, match="a fit of 1 or 2 latents, got 3: run `hqdm carleman fit"):
        study(fitted(3), Waves(""))
    with pytest.raises(HQDMError, match="qubits of a coordinate needs a whole number up to 8"):
        study(fitted(2), Waves("", qubits=(9,)))
    for wrong in ({"n": 0}, {"seed": -1}, {"steps": 0}, {"products": (0,)}, {"products": ()}):
        with pytest.raises(HQDMError, match="needs a"):
            Waves("", **wrong)
