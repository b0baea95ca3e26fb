"""Weights from files: PySlowFast's, torchvision's, our own."""

from slowfast_gta.models.weights.load import WeightsReport, load_weights

__all__ = ["WeightsReport", "load_weights"]
