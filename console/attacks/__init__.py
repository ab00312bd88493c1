"""Extraction and membership attacks: one file an attack; prompt banks live in ``resources/prompts``."""
