"""The Graph API of the simulated Meta: calls, edges, and the checks on what they take."""
