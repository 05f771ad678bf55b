"""What the wall clock can be relied on for."""

TRUSTED_MS = 1_735_689_600_000
"""2025-01-01 UTC: a clock before it was never set."""
