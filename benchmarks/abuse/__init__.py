"""Abusive clients, and the tenant beside them whose requests are timed."""
