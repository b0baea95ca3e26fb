"""Child processes that may die or hang: how they start, which signals reach them, what becomes of their work."""
