"""The data set checker: lists, every video of them, and the splits against each other."""
