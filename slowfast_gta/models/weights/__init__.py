"""Weights from files: PySlowFast's, torchvision's, other people's and our own; and into .safetensors."""

from slowfast_gta.models.weights.load import check_weights, load_weights, load_weights_for
from slowfast_gta.models.weights.report import WeightsReport
from slowfast_gta.models.weights.safetensors import save_safetensors

__all__ = ["WeightsReport", "check_weights", "load_weights", "load_weights_for", "save_safetensors"]
