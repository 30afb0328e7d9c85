"""Evaluation of trained models: scores, comparisons of samplers, ablation of the circuits."""
