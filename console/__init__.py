"""Erasure Console: find, erase and prove the erasure of personal data in local language models."""

__version__ = "0.1.0"
