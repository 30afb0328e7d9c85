"""Costs of Carleman linearisation on quantum and classical computers."""
