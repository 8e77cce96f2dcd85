"""Calls to the Graph API.

The package has one client, the calls grouped by resource, and the meaning of responses and errors.
"""
