"""Records and videos -> batches: which frames, which crop, who reads what. It alone joins datasets and video."""
