"""Calls to the Graph API: one client, its calls by subject, and what its answers and errors mean."""
