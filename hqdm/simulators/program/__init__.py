"""Circuits as programs of gates, and their execution in torch."""
