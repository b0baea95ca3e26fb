"""Frames -> a file, with the sound of where they come from, or a view that somebody watches."""
