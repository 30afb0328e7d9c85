"""Compiled kernels of the U-Net for the CPU, with one sample of a batch per vector lane."""
