"""Noise schedules, training objectives and the denoiser that combines them with a network."""
