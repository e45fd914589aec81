"""One self-contained page that shows a run: its verdict in words, what it made, every number, and where the time went."""
