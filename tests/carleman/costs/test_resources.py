"""Resources against counts by hand and by PennyLane, and against each other."""

import math
from dataclasses import replace

import numpy as np
import pennylane as qml
import pytest
from evolutions import CASE
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import jv

from hqdm.carleman.costs.resources import (
    ASSUMPTIONS,
    METHODS,
    circuit_gates,
    classical_cost,
    lchs_cost,
    lookup,
    qlss_cost,
    schrodingerisation_cost,
    simulation_degree,
    table,
)
from hqdm.carleman.costs.scaling import measured
from hqdm.carleman.lchs.circuit import operators
from hqdm.carleman.lchs.quadrature import Cauchy, NearOptimal, quadrature
from hqdm.carleman.lchs.solver import LCHS
from hqdm.carleman.lchs.unitaries import cartesian
from hqdm.carleman.qlss.circuit import QSVTCircuit
from hqdm.carleman.qlss.solver import QLSS
from hqdm.carleman.schrodingerisation.solver import Schrodingerisation
from hqdm.carleman.schrodingerisation.warp import warp
from hqdm.utils.errors import HQDMError


def at(dim, **changes):
    return replace(CASE, dim=dim, **changes)


def test_a_linear_system_solver_by_hand():
    cost = qlss_cost(CASE, 0.1)
    # C(5, 3) = 10 monomials, 500 unknowns: 9 qubits, one to encode, one for the real part
    assert cost.qubits == 11
    # a quarter of a quarter is read: the history may err by a quarter of the tolerance only
    terms = math.ceil(math.acosh(40) / (2 * math.atanh(1 / 30)))
    assert cost.queries == 2 * terms - 1 == 131
    assert cost.states == pytest.approx(4 * 2 * 100 * 4)
    assert cost.success_probability == 1 / 16
    # asin(1 / 4) = 0.2527, 3 rounds: 7 runs reach 0.961
    assert cost.runs == pytest.approx(7 / math.sin(7 * math.asin(0.25)) ** 2)
    # 2 C(5, 3) = 20 coefficients of 16 bits, looked up twice by iteration; 3 loads of 2 numbers
    assert (cost.table, cost.table_qubits) == (36, 16)
    assert cost.gates("oracle") == pytest.approx(3200 * cost.runs * (6 + 131))
    assert cost.gates("table") == pytest.approx(3200 * cost.runs * (6 + 131 * 36))


def test_hamiltonian_simulations_by_hand():
    cost = lchs_cost(CASE, 0.1, Cauchy())
    kept = 0.9 * math.exp(-0.1)
    assert cost.success_probability == pytest.approx(kept**2, rel=1e-6)
    rule = quadrature(Cauchy(), 0.8, 0.1 * 0.5 * kept / 2)
    count = 2 * len(rule.nodes)
    assert cost.qubits == 4 + math.ceil(math.log2(count)) + 2
    time = (rule.cutoff * 0.8 + 0.2) / 8
    degree = simulation_degree(time, 0.1 * 0.5 * kept / 2 / 8)
    assert cost.queries == 2 * 8 * degree
    assert cost.preparation == 6 + 2 * count
    assert cost.states == pytest.approx(3200)


def test_a_reflection_by_hand():
    cost, minimax = qlss_cost(CASE, 0.1, "reflection"), qlss_cost(CASE, 0.1)
    # the inverse succeeds, and a quarter is the final state; one qubit for the further dimension
    assert cost.success_probability == 0.25
    assert cost.qubits == 12
    assert cost.queries == 2 * math.ceil(math.acosh(math.sqrt(2) * 40) / (2 * math.atanh(1 / 30)))
    assert cost.gates("oracle") < minimax.gates("oracle") / 2


@pytest.mark.parametrize("tolerance", [1e-1, 1e-4, 1e-7])
def test_schrodingerisation_by_hand(tolerance):
    cost = schrodingerisation_cost(CASE, tolerance)
    kept = 0.9 * math.exp(-0.1)
    eps = tolerance * 0.5 * kept / 2
    grid = warp(0.8, eps)
    assert cost.success_probability == pytest.approx(kept**2 * grid.fraction)
    assert cost.qubits == 4 + round(math.log2(grid.n_modes)) + 2
    time = (grid.cutoff * 0.8 + 0.2) / 8
    degree = simulation_degree(time, eps * math.sqrt(grid.fraction) / 8)
    assert cost.queries == 2 * 8 * degree
    assert cost.preparation == 6 + grid.n_modes + 2 * math.log2(grid.n_modes) ** 2
    assert cost.states == pytest.approx(32 / tolerance**2)


def test_costs_of_an_evolution_are_those_of_its_accounts():
    rng = np.random.default_rng(0)
    generators = [sparse.csr_array(0.2 * rng.normal(size=(3, 3)) - 0.3 * np.eye(3))] * 2
    y0 = np.ones(3)
    lchs = LCHS(tolerance=1e-3).solve(generators, y0).account
    qlss = QLSS(eps=1e-3).solve(generators, y0).account
    case = measured(2, 1, 1, qlss, lchs, size=3, share=1.0)
    cost = qlss_cost(case, 1e-3 / math.sqrt(case.final_probability))
    assert (cost.queries, cost.qubits) == (qlss.inversion.queries, qlss.inversion.qubits)
    assert cost.runs == pytest.approx(qlss.inversion.amplified_repetitions)
    # a tolerance that asks for the quadrature of the account, which is relative to |y_0|
    same = lchs_cost(case, 2e-3 / case.gain)
    assert same.success_probability == pytest.approx(lchs.success_probability, rel=1e-2)
    assert same.qubits == lchs.system_qubits + lchs.ancilla_qubits + 2
    assert same.preparation == 2 + 2 * lchs.n_unitaries
    warped = Schrodingerisation(tolerance=1e-3).solve(generators, y0).account
    same = schrodingerisation_cost(case, 2e-3 / case.gain)
    assert same.success_probability == pytest.approx(warped.success_probability, rel=1e-2)
    assert same.qubits == warped.system_qubits + warped.ancilla_qubits + 2


@settings(deadline=None, max_examples=40)
@given(time=st.floats(1e-3, 200), digits=st.floats(0.5, 12))
def test_simulations_meet_their_error(time, digits):
    eps = 10.0**-digits
    degree = simulation_degree(time, eps)
    left_out = 2 * np.abs(jv(np.arange(degree + 1, degree + 200), time)).sum()
    assert left_out <= eps + 1e-15  # rounding of the Bessel functions


@pytest.mark.parametrize("time", [0.1, 3.0, 50.0])
@pytest.mark.parametrize("eps", [0.1, 1e-4, 1e-10])
def test_the_degree_is_the_lowest_that_solves_its_equation(time, eps):
    """Gilyen et al. 2019, lemma 59: (e t / (2 r))^r = 5 eps / 8, and the next whole number."""
    degree = simulation_degree(time, eps)

    def left_out(r):
        return (math.e * time / 2 / r) ** r

    assert left_out(degree) <= 5 / 8 * eps
    assert left_out(degree - 1) > 5 / 8 * eps


def test_simulations_scale_as_in_the_theory():
    assert simulation_degree(0.0, 1e-3) == 0
    assert simulation_degree(1e6, 1e-3) == pytest.approx(math.e / 2 * 1e6, rel=1e-4)
    # log(1 / eps) / log log(1 / eps) at short times: slower than log(1 / eps), and growing
    few, many = simulation_degree(1.0, 1e-6), simulation_degree(1.0, 1e-12)
    assert few < many < 2 * few


def test_simulations_agree_with_the_estimate_of_pennylane():
    import pennylane.estimator as qre

    for time, eps in ((10.0, 1e-3), (100.0, 1e-6)):
        # every use of the walk operator, here a Hadamard gate, is controlled once
        walk_operator = qre.Hadamard(wires=0)
        evolution = qre.GQSPTimeEvolution(walk_operator, time, 1.0, eps)
        counts = qre.estimate(evolution, gate_set={"CH", "Rot", "X", "RZ", "RY", "RX", "T"})
        queries = counts.gate_counts["CH"]
        # PennyLane takes the least degree of the tail, we a closed form above it
        assert queries <= 2 * simulation_degree(time, eps) <= 1.6 * queries


@pytest.mark.parametrize("entries", [3, 10, 140, 10**4, 10**12])
def test_tables_agree_with_the_estimate_of_pennylane(entries):
    import pennylane.estimator as qre

    def estimate(swaps):
        table = qre.QROM(entries, 16, restored=False, select_swap_depth=swaps)
        return qre.estimate(table).gate_counts["Toffoli"]

    toffolis, qubits = lookup(entries)
    assert toffolis == estimate(qubits // 16)
    others = [estimate(2**k) for k in range((entries - 1).bit_length())]
    assert toffolis == min(others)


def test_look_ups_grow_with_the_root_of_the_table():
    """2 sqrt(E b) for large tables (Low et al. 2018), within the rounding of s to powers of two."""
    entries = 10.0 ** np.arange(6, 24, 2)
    gates = [lookup(int(e))[0] for e in entries]
    assert np.polyfit(np.log(entries), np.log(gates), 1)[0] == pytest.approx(0.5, abs=0.01)
    assert all(0.99 <= g / np.sqrt(64 * e) <= 1.1 for g, e in zip(gates, entries, strict=True))


def test_the_gates_of_a_circuit_are_those_of_specs():
    rng = np.random.default_rng(0)
    part = cartesian(sparse.csr_array(0.3 * rng.normal(size=(2, 2)) - 0.5 * np.eye(2)))
    rule = quadrature(NearOptimal(), part.hermitian_norm, 0.3)
    made = operators([part], rule, np.ones(2), order=2, steps=1)
    counts = circuit_gates(made)
    basic = {"RX", "RY", "RZ", "CNOT", "Hadamard", "S", "GlobalPhase"}
    (tape,), _ = qml.transforms.decompose(qml.tape.QuantumScript(made), gate_set=basic)
    gates = tape.specs["resources"].gate_types
    assert counts["CNOT"] == gates["CNOT"] > 0
    assert counts["Hadamard"] == gates["Hadamard"] > 0
    # 44 T gates per rotation; PennyLane's estimator decomposes the diagonal with a few more of them
    rotations = gates["RY"] + gates["RZ"] + gates.get("RX", 0)
    assert rotations <= counts["T"] / 44 <= 1.2 * rotations


def test_gates_of_the_circuit_of_an_inverse_grow_with_its_degree():
    counts = []
    for coefficients in ([0.5], [0.5, 0.2], [0.5, 0.2, 0.1]):
        circuit = QSVTCircuit(np.diag([0.5, 1.0]), np.array([0.6, 0.8]), np.array(coefficients))
        counts.append(circuit_gates(qml.tape.make_qscript(circuit.qfunc)().operations))
    # a degree more is a two-qubit block encoding and a phase more, and the rest stays
    one, two, three = (count["T"] for count in counts)
    assert three - two == two - one > 0
    assert counts[0]["Hadamard"] == 2


def test_a_classical_sample_by_hand():
    cost = classical_cost(CASE, evaluations=10, original_flops=77.0)
    assert cost.direct == 2 * 4 * 10 * 20
    assert cost.lifted == 4 * 2 * 2 * 10
    assert cost.least == 77
    assert classical_cost(CASE, 10).least == 160


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["kappa", "hermitian_norm", "skew_norm", "dim", "order", "blocks"]),
    factor=st.integers(2, 9),
    tolerance=st.floats(1e-5, 0.3),
)
def test_more_is_never_cheaper(name, factor, tolerance):
    more = replace(CASE, **{name: factor * getattr(CASE, name)})
    for cost in (qlss_cost, lchs_cost, schrodingerisation_cost):
        before, after = cost(CASE, tolerance), cost(more, tolerance)
        finer = cost(CASE, tolerance / factor)
        for access in ("oracle", "table"):
            assert before.gates(access) <= after.gates(access)
            assert before.gates(access) < finer.gates(access)
        assert before.qubits <= after.qubits
        assert before.qubits <= finer.qubits


def test_queries_scale_as_in_the_theory():
    kappas = np.array([100.0, 200, 400, 800])
    queries = [qlss_cost(replace(CASE, kappa=k), 1e-3).queries for k in kappas]
    assert np.polyfit(np.log(kappas), np.log(queries), 1)[0] == pytest.approx(1, abs=0.01)
    tolerances = 10.0 ** -np.arange(2, 8)
    queries = [qlss_cost(CASE, eps).queries for eps in tolerances]
    # kappa log(1 / eps), and one for every order of the odd polynomial
    assert np.polyfit(np.log(1 / tolerances), queries, 1)[0] == pytest.approx(30, rel=0.02)
    norms = np.array([100.0, 200, 400, 800])
    queries = [lchs_cost(replace(CASE, hermitian_norm=x), 1e-3).queries for x in norms]
    assert np.polyfit(np.log(norms), np.log(queries), 1)[0] == pytest.approx(1, abs=0.05)
    # a longer evolution has larger norms
    queries = [
        schrodingerisation_cost(replace(CASE, hermitian_norm=x), 1e-3).queries for x in norms
    ]
    assert np.polyfit(np.log(norms), np.log(queries), 1)[0] == pytest.approx(1, abs=0.05)
    assert qlss_cost(CASE.stretched(3), 1e-3).queries > 2.5 * qlss_cost(CASE, 1e-3).queries
    assert lchs_cost(CASE.stretched(3), 1e-3).queries > 2 * lchs_cost(CASE, 1e-3).queries


def test_the_crossing_agrees_with_the_table():
    dims = [10**k for k in range(1, 7)]
    resources = table([at(d) for d in dims], 0.1, evaluations=100)
    for method in METHODS:
        found = resources.crossing(method, "oracle")
        below = [row.gates(method, "oracle") < row.classical.least for row in resources.rows]
        assert found == dims[below.index(True)]
        assert all(below[below.index(True) :])
        assert not below[0]
        # more expensive gates move it up, and out of the table
        assert resources.crossing(method, "oracle", speed=1e3) > found
        assert resources.crossing(method, "oracle", speed=1e30) is None
        table_found = resources.crossing(method, "table", against="direct")
        assert table_found > resources.crossing(method, "oracle", against="direct")
        # the cheapest classical method here is the lifted map
        assert resources.crossing(method, "oracle", against="direct") <= found
        assert resources.crossing(method, "oracle", against="lifted") == found
        assert resources.crossing(method, "oracle", against="original") == dims[0]  # there is none


def test_a_crossing_that_does_not_last_is_none():
    early = table([at(10**3), at(10**6)], 0.1, 100, original_flops=[1e30, 1.0])
    assert early.crossing("qlss", "oracle") is None


def test_a_method_that_never_succeeds_has_no_cost():
    hopeless = at(4, shift=50.0, inverse_probability=1e-13)
    (row,) = table([hopeless], 0.1, 10).rows
    assert [name for name in METHODS if row.quantum[name] is not None] == ["reflection"]
    assert row.gates("lchs", "oracle") == math.inf
    assert row.cells()["schrodingerisation_qubits"] is None
    assert row.cells()["qlss_queries"] is row.cells()["lchs_oracle_gates"] is None


def test_a_row_has_all_cells_and_numbers_beyond_64_bits():
    resources = table([at(10**6, order=5)], 1e-2, 10, original_flops=[1e9])
    cells = resources.rows[0].cells()
    assert cells["lifted"] == math.comb(10**6 + 5, 5)
    assert cells["qlss_qubits"] == (50 * cells["lifted"] - 1).bit_length() + 2
    assert cells["classical_original"] == 1e9
    assert set(ASSUMPTIONS) < set(resources.assumptions)
    assert all(math.isfinite(value) for value in cells.values())


def test_bad_input_is_refused():
    with pytest.raises(HQDMError, match="tolerance between 0 and 1, got 0"):
        table([CASE], 0.0, 10)
    with pytest.raises(HQDMError, match="one value of original_flops per case, 1, got 2"):
        table([CASE], 0.1, 10, [1.0, 2.0])
    resources = table([CASE], 0.1, 10)
    with pytest.raises(HQDMError, match="unknown quantum method 'lch'"):
        resources.crossing("lch", "oracle")
    with pytest.raises(HQDMError, match="unknown classical method 'network'"):
        resources.crossing("lchs", "oracle", against="network")
    with pytest.raises(HQDMError, match="unknown access to coefficients 'oracles'"):
        resources.crossing("lchs", "oracles")
