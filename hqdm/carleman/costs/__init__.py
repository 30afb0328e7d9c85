"""Costs of Carleman linearisation on quantum and on classical computers."""
