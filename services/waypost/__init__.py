"""Waypost: WhatsApp Business numbers on Kubernetes, run the way cert-manager runs certificates."""

from importlib.metadata import version

__version__ = version("waypost")
