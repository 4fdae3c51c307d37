"""How fast the service is, beside the servers that it is to replace. `make bench` runs it."""
