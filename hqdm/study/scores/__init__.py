"""Scores of the cells of a study: of models of images, and of models of quantum states."""
