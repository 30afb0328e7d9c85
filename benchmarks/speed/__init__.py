"""The parts of the speed benchmark that `benchmarks/simulators.py` runs."""
