"""What a run keeps on disk so that it resumes exactly."""
