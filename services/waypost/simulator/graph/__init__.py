"""The Graph API of the simulated Meta: its calls, and the checks on their parameters."""
