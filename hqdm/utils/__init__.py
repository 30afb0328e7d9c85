"""Utilities: errors, files, random seeds, pixels, pictures, tables, registries."""
