"""The ground floor: errors, files, random seeds, pixels, pictures, tables, registries."""
