"""Builds what other machines download: programs, images and a Docker engine."""
