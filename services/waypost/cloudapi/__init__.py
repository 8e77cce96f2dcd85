"""Everything that Meta defines.

That is: the deliveries that Meta sends, the messages that it accepts, and all HTTP calls to its Graph API.
"""
