"""Synthetic: a generated data set of real encoded videos, actions and the same actions backwards.

rendering: the drawings · levels: how hard they are · encoding: frames -> video files
dataset: lists, files, records
"""

from slowfast_gta.datasets.synthetic.dataset import Settings, Synthetic

__all__ = ["Settings", "Synthetic"]
