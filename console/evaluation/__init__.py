"""Metrics and statistics: pure functions over texts, scores and counts."""
