"""`make demo`: an agent learns, works, is stopped, is killed, and comes back; witnesses count."""
