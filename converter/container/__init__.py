"""Containers: the only package that talks to a container engine (Docker or podman, by its socket)."""

from converter.container.container import Container, failure, require
from converter.container.engine import Engine, Image, connect, find_socket
from converter.container.limits import Limits

__all__ = [
    "Container",
    "Engine",
    "Image",
    "Limits",
    "connect",
    "failure",
    "find_socket",
    "require",
]
