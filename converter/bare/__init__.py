"""Bare models: inferring a config for a model, and writing a source archive of it."""
