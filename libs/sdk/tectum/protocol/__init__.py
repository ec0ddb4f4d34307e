"""Sessions, epochs, bodies and the journal as plain data."""
