"""The training loop: what learns, how fast, what is counted, and how it stops."""
