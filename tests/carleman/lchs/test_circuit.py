"""The circuit of LCHS against its emulation."""

import numpy as np
import pennylane as qml
import pytest
from marks import slow, thinned
from scipy import sparse

from hqdm.carleman.lchs.circuit import hamiltonian, operators, registers
from hqdm.carleman.lchs.quadrature import NearOptimal, quadrature
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.lchs.unitaries import cartesian
from hqdm.utils.errors import HQDMError


def evolution(n, count=2, seed=0, damping=0.5):
    rng = np.random.default_rng(seed)
    made = 0.3 * rng.normal(size=(count, n, n)) / np.sqrt(n) - damping * np.eye(n)
    return [sparse.csr_array(generator) for generator in made], rng.normal(size=n)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("kernel", ["near-optimal", "cauchy"])
def test_with_exact_unitaries_circuit_and_emulation_are_equal(n, kernel):
    generators, y0 = evolution(n)
    emulated = LCHS(kernel=kernel, tolerance=0.1).solve(generators, y0)
    run = LCHS("circuit", kernel, tolerance=0.1, steps=None).solve(generators, y0)
    # a few hundred gates, each to rounding
    np.testing.assert_allclose(run.y, emulated.y, atol=1e-12)
    assert run.account.success_probability == pytest.approx(
        emulated.account.success_probability, rel=1e-11
    )
    assert run.account.order is run.account.steps is None


def test_a_shifted_evolution_is_rescaled():
    generators, y0 = evolution(2, damping=-0.2)
    run = LCHS("circuit", tolerance=0.05, steps=None).solve(generators, y0)
    assert min(run.account.shifts) > 0
    assert run.account.error <= 0.05


@pytest.mark.parametrize(
    ("order", "steps", "reached"),
    thinned([(1, (8, 16, 32), 3e-3), (2, (8, 16, 32), 3e-5), slow(4, (8, 16), 1e-6)], every=2),
)
def test_product_formulas_reach_their_order(order, steps, reached):
    generators, y0 = evolution(3, count=1, seed=1)
    exact = LCHS(tolerance=0.1).solve(generators, y0).y
    errors = []
    for count in steps:
        run = LCHS("circuit", tolerance=0.1, order=order, steps=count).solve(generators, y0)
        errors.append(np.linalg.norm(run.y - exact))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(order, abs=0.2)
    assert errors[-1] < reached
    assert (run.account.order, run.account.steps) == (order, steps[-1])


def test_the_probability_of_the_account_is_the_measured_one():
    generators, y0 = evolution(2, count=1)
    account = LCHS(tolerance=0.1).solve(generators, y0).account
    part = cartesian(generators[0])
    rule = quadrature(NearOptimal(), part.hermitian_norm, 0.1)
    nodes, _ = registers(rule, len(y0))
    made = operators([part], rule, y0, order=2, steps=None)
    tape = qml.tape.QuantumScript(made, [qml.probs(wires=nodes)], shots=20_000)
    (measured,) = qml.execute([tape], qml.device("default.qubit", seed=0))
    p = account.success_probability
    # five standard deviations of a frequency
    assert measured[0] == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / 20_000))


def test_the_select_hamiltonian_is_block_diagonal_in_the_nodes():
    part = cartesian(evolution(3, count=1)[0][0])
    spacing, nodes, system = 0.7, range(2), range(2, 4)
    total = qml.matrix(qml.sum(*hamiltonian(part, spacing, nodes, system)), wire_order=range(4))
    for j, k in enumerate(spacing * np.array([-1.5, -0.5, 0.5, 1.5])):
        block = np.zeros((4, 4), complex)
        block[:3, :3] = k * part.hermitian.toarray() + 1j * part.skew.toarray()
        where = slice(4 * j, 4 * j + 4)
        np.testing.assert_allclose(total[where, where], block, atol=1e-14)
        total[where, where] = 0
    assert not total.any()


@pytest.mark.parametrize(
    "generator",
    [np.zeros((2, 2)), np.array([[0.0, 1.0], [-1.0, 0.0]]), -np.eye(2)],
    ids=["nothing", "rotation", "decay"],
)
def test_hamiltonians_of_one_word_or_none_are_simulated(generator):
    y0 = np.array([1.0, 2.0])
    emulated = LCHS(tolerance=0.1).solve([sparse.csr_array(generator)], y0)
    run = LCHS("circuit", tolerance=0.1, steps=1).solve([sparse.csr_array(generator)], y0)
    # these commute: one step of a product formula is exact
    np.testing.assert_allclose(run.y, emulated.y, atol=1e-12)


def test_too_many_qubits_are_refused():
    generators, y0 = evolution(16)
    message = r"needs 13 qubits \(4 for the system, 9 for \d+ nodes\), expected at most 12: raise"
    with pytest.raises(HQDMError, match=message):
        LCHS("circuit", tolerance=1e-4).solve(generators, y0)
