"""What is kept of a session, when it is complete, and where it lies."""
