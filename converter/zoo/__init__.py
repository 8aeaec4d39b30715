"""The model zoo: a matrix of models, targets and modes, built every night from one manifest."""
