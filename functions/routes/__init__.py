"""HTTP routes: thin handlers between a dialect and the core."""
