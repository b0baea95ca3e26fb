"""What a model keeps of the frames that it has seen."""
