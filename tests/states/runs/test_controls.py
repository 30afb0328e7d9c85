"""Controls of a model: what its channel and its auxiliary qubits permit."""

import pytest
import torch

from hqdm.states.channels import AmplitudeDamping, Channel, Depolarising, Scrambling
from hqdm.states.density import density, haar_kets
from hqdm.states.majorisation import path_bound
from hqdm.states.models.denoiser import StateDenoiser
from hqdm.states.models.measured import MeasuredCircuit
from hqdm.states.models.objectives import Final, Layerwise
from hqdm.states.models.traced import TracedCircuit
from hqdm.states.runs.controls import (
    CLOSED_FORM,
    FOR_DENSITY,
    FOR_TRACED,
    Controls,
    control_sheet,
)
from hqdm.utils.seeds import generator


@pytest.fixture
def ket():
    return density(haar_kets(1, 2, generator(0)))


def test_controls_of_a_model_that_traces_out(ket):
    channel = Depolarising(n_steps=30)
    model = StateDenoiser(TracedCircuit(2, 30, n_time=1, n_fresh=0), channel, Final())
    found = Controls.of(model, ket)
    assert found.identity == pytest.approx(1 / 4, abs=1e-7)
    assert found.petz == pytest.approx(1, abs=1e-6)
    # The value of the prototype for n = 2, m = 1, T = 30.
    assert found.bound == pytest.approx(0.993, abs=5e-4)
    assert found.bound == float(path_bound(channel, ket[0], 1)[0])
    rows = control_sheet(found).rows
    assert [row[1] for row in rows] == ["0.2500", "1.0000", f"{found.bound:.4f}"]
    assert "1 auxiliary qubit" in rows[2][0]


def test_what_does_not_apply_is_said(ket):
    kets = Scrambling(n_steps=3, h=[[1.0, 2.0, 3]])
    model = StateDenoiser(MeasuredCircuit(2, 3), kets, Layerwise())
    found = Controls.of(model, haar_kets(1, 2, generator(0)))
    assert found.identity == pytest.approx(1 / 4, abs=1e-7)
    assert (found.petz, found.bound) == (FOR_DENSITY, FOR_DENSITY)
    measured = StateDenoiser(MeasuredCircuit(2, 3), Depolarising(n_steps=3), Layerwise())
    found = Controls.of(measured, ket)
    assert found.petz == pytest.approx(1, abs=1e-6)
    assert control_sheet(found).rows[2][1] == FOR_TRACED


def test_the_identity_of_amplitude_damping_is_that_of_the_ground_state(ket):
    model = StateDenoiser(TracedCircuit(2, 4), AmplitudeDamping(n_steps=4), Final())
    assert Controls.of(model, ket).identity == pytest.approx(float(ket[0, 0, 0].real), abs=1e-7)


def test_a_channel_without_a_closed_form_has_no_exact_reverse(ket):
    class Other(Channel):
        """A channel of density matrices that is not a `DampingChannel`."""

        n_steps, pure = 4, False
        at = step = Depolarising(n_steps=4).at
        prior = staticmethod(Depolarising(n_steps=4).prior)

    found = Controls.of(StateDenoiser(TracedCircuit(2, 4), Other(), Final()), ket)
    assert found.identity == pytest.approx(1 / 4, abs=1e-7)
    assert (found.petz, found.bound) == (CLOSED_FORM, CLOSED_FORM)


def test_the_identity_of_a_mixed_target():
    rho = torch.diag(torch.tensor([0.9, 0.1], dtype=torch.complex128))
    model = StateDenoiser(TracedCircuit(1, 4), Depolarising(n_steps=4), Final())
    expected = 0.5 * (0.9**0.5 + 0.1**0.5) ** 2
    assert Controls.of(model, rho[None]).identity == pytest.approx(expected, abs=1e-12)
