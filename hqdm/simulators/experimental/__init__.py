"""Experimental: a simulator that has never run on the hardware that it is written for.

`cuda` has fused kernels for NVIDIA GPUs. They agree with the kernels of the CPU in Numba's
simulator of a GPU and compile for real ones, but no device has run them. Therefore `auto` never
chooses them: on a GPU it takes torch operations (`StatevectorSimulator`, `UnitarySimulator`).

To choose it, name it: `simulator: cuda` in a configuration, `QuantumLayer(..., simulator="cuda")`,
or `CudaSimulator()`. A warning says once that it is experimental.

It moves back into `hqdm.simulators.compiled`, and `auto` considers it, when a run of `make gpu` on
a device finds its values and gradients equal to those of the CPU and its time below that of the
torch operations. If it is equal and not faster, it is removed.
"""
