"""Files of models: their layout, their format version, and migrations of older versions."""
