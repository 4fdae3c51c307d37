"""The stores' blocking calls. They run in a store's threads, never in the event loop."""
