"""Files of models and runs: layout, format version, digests, migration from older versions."""
