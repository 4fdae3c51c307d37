"""Clients that ask too much of the service, and what another tenant notices of them."""
