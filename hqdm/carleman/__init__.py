"""Carleman linearisation: polynomial drift in, linear system out, and what solves it.

A library of its own: it knows neither networks nor images.
"""
