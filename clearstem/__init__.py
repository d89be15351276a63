"""clearstem: noise removal for speech and separation of music into nine tracks.

This package is what the service *is*: the job and its legal transitions, the
recipes, the errors, and thin adapters to DynamoDB and S3. It imports neither
the functions nor the containers nor the infrastructure that use it, and never
an array library.
"""

__version__ = "1.0.0"
