"""Simulation by compiled kernels on the CPU."""
