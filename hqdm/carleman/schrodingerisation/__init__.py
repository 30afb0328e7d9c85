"""Dissipative linear maps by a unitary evolution with one further dimension."""
