"""Local models behind one protocol: identity, loading, generation, scoring, hidden states, saving."""
