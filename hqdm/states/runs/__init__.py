"""Training, files and pictures of models of quantum states."""
