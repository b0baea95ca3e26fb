"""Data sets in the layouts that they are published in, and a folder of one's own, as samples."""
