"""The stage tasks and their audio engine: whatever needs arrays, torch or a GPU."""
