"""Carleman linearisation of polynomial differential equations, with solvers and their costs.

A self-contained library: it imports no other room than `hqdm.utils`, and knows neither networks nor
images.
"""
