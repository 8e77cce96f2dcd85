"""This package has everything that Meta defines.

Meta defines the deliveries that it sends, the messages that it accepts, and all HTTP calls to its Graph API.
"""
