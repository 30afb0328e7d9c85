"""Linear combination of Hamiltonian simulations (LCHS) for a linear differential equation."""
