"""From annotation files to batches. Importing this package registers the data sets."""

from slowfast_gta.datasets import kinetics, something, synthetic

__all__ = ["kinetics", "something", "synthetic"]
