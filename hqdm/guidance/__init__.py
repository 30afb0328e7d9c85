"""Guidance: denoisers that wrap another denoiser and modify its prediction.

Each has the `schedule` and the call of the denoiser that it wraps and returns a `Prediction`, so
that every sampler accepts it.
"""
