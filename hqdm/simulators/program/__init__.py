"""A circuit as a program of gates, and its execution in torch."""
