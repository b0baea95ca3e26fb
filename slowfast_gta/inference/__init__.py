"""Trained networks on any video."""
