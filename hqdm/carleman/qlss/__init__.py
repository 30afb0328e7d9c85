"""Quantum linear-system solver (QLSS) for a linear differential equation."""
