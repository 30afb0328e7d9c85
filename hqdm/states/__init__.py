"""Quantum states and ensembles of them: density matrices, distances, channels, exact bounds."""
