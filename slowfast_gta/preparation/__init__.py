"""From what people have to what a data set reads: lists, smaller videos, frames. Originals are only read."""
