"""Simulation by compiled kernels, on the CPU and on NVIDIA GPUs."""
