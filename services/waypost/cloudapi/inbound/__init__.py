"""Reads everything that Meta delivers.

A signed delivery is split into events, and each event is parsed into a typed record.
"""
