"""The local twin: the same template on an embedded AWS, and the edge in front of it."""
