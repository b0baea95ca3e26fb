"""A video's subtitles as sentences with times."""
