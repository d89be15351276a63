"""Lambda entry points: one module per trigger, and the HTTP dialects they speak."""
