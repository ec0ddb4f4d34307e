"""The rules of sessions: terms, epochs, leases, interrupts, turns, admission."""
