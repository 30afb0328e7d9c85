"""Denoisers around denoisers: they change a prediction, and samplers take them like any other."""
