"""The comparison of all algorithms by hand, and with their own costs."""

import math

import pytest
from evolutions import CASE

from hqdm.carleman.costs.comparison import compare, marching_cost, solver_cost
from hqdm.carleman.costs.queries import SOLVERS, marching_queries, solver_queries
from hqdm.carleman.costs.resources import METHODS, quantum_costs


def test_a_published_solver_by_hand():
    cost = solver_cost(CASE, 0.1, "shortcut")
    # a quarter of a quarter is read, a quarter is the final state, 500 unknowns and one more
    assert cost.queries == solver_queries("shortcut", 30.0, 0.025)
    assert cost.success_probability == 0.25
    assert (cost.qubits, cost.preparation, cost.table) == (12, 6, 36)
    assert cost.states == pytest.approx(3200)


def test_time_marching_by_hand():
    cost = marching_cost(CASE, 0.1)
    kept = 0.9 * math.exp(-0.1)
    queries, amplified = marching_queries(1.0, 0.1 * 0.5 * kept)
    assert cost.queries == queries
    assert cost.success_probability == pytest.approx((kept * amplified) ** 2)
    assert cost.qubits == 4 + 2 + 2


def test_every_algorithm_is_compared_once_and_agrees_with_its_own_cost():
    rows = {row.algorithm: row.cost for row in compare(CASE, 0.01)}
    assert len(rows) == 2 + len(SOLVERS) + 4
    own = quantum_costs(CASE, 0.01)
    names = "minimax polynomial", "reflection"
    found = [rows[f"QLSS, {name}"] for name in names]
    found += [rows["LCHS, near-optimal kernel"], rows["Schrödingerisation"]]
    assert found == [own[method] for method in METHODS]
    assert rows["QLSS, Childs-Kothari-Somma polynomial"].queries > found[0].queries
    assert rows["LCHS, Cauchy kernel"].queries > found[2].queries
