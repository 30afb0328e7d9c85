"""The wave function of a flow: the square root of its density, by a unitary evolution."""
