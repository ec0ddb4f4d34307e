"""The HTML report of recorded sessions."""
