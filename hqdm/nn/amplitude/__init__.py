"""Denoisers that hold images in the amplitudes of a state (Koelle et al., arXiv 2401.07049)."""
