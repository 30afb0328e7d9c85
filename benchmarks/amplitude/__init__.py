"""The parts of `benchmarks/amplitude_table.py`."""
