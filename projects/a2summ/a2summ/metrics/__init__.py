"""How good a summary is: F1 with users, rank correlation, ROUGE, cosine of key frames. Each of one video at a time."""
