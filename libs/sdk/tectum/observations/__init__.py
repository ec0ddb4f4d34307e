"""What an environment shows."""
