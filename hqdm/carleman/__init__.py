"""Carleman linearisation of polynomial differential equations, with solvers and their costs.

A self-contained library: of this package it imports `hqdm.utils` only, and no network or image.
"""
