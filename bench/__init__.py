"""Benchmarks: ``python -m bench NAME [--json]``; the last line of ``--json`` is one object."""
