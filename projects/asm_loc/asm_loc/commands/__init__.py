"""The project's commands: run (train and test), worlds (the synthetic experiment), benchmark."""
