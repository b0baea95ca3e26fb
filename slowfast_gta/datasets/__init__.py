"""From annotation files to records. Importing this package registers the data sets."""

from slowfast_gta.datasets import arrow, egogesture, epic, kinetics, something, synthetic

__all__ = ["arrow", "egogesture", "epic", "kinetics", "something", "synthetic"]
