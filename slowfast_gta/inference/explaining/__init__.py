"""What a network looks at: maps of its attention blocks, their temporal matrices, Grad-CAM; numbers, no pictures."""
