"""The upper layer of our own for receiving (PS3.8 9, as the acceptor; PS3.7 for what comes in its messages)."""
