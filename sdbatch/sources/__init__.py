"""Names → pinned, hashed, cached things; no torch."""
