"""What memory keeps, and how it is found again."""
