"""Where clearstem runs: the template for AWS, and its twin on one machine."""
