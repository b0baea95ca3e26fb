"""What a summary leaves behind: a video, texts, pictures, a page."""
