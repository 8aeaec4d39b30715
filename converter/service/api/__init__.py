"""The service's own API, version 1."""
