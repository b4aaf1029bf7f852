"""Breaking runs on purpose: what `make chaos` does to them, and what they are to answer."""
