"""The wave function of the flow of a fitted model, compared with the density of the flow."""
