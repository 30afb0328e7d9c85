"""Studies: models compared over data sets and random seeds, with intervals."""
