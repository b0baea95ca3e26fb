"""From annotation files to records. Importing this package registers the data sets."""

from slowfast_gta.datasets import egogesture, epic, kinetics, something, synthetic

__all__ = ["egogesture", "epic", "kinetics", "something", "synthetic"]
