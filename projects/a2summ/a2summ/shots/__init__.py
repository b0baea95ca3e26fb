"""Shots: where a video is cut, and which of them make the summary."""
