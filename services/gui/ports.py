"""What the GUI domain needs: providers of environments, blobs, a clock; and what it is to the executor kit."""

from __future__ import annotations

from libs.clock import Clock
from libs.executor.port import LastLink, OpenedHome, Performed
from tectum.plugins import BlobSink, Environment, EnvironmentProvider, Gate

__all__ = [
    "BlobSink",
    "Clock",
    "Environment",
    "EnvironmentProvider",
    "Gate",
    "LastLink",
    "OpenedHome",
    "Performed",
]
