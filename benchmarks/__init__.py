"""Benchmarks of the service against FastTrackML and MLflow. `make bench` runs them."""
