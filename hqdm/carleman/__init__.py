"""Carleman linearisation: a polynomial drift becomes a linear system, with several solvers for it.

A library of its own: it knows neither networks nor images.
"""
