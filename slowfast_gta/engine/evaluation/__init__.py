"""From scores to results: one deterministic path for validation and testing."""
