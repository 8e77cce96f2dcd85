"""Waypost runs WhatsApp Business numbers on Kubernetes, in the way that cert-manager runs certificates."""

from importlib.metadata import version

__version__ = version("waypost")
