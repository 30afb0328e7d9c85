"""Files of models: layout, format version, and migration from older versions."""
