"""What a run must survive, injected for real: `python -m benchmarks.torture --out DIR`. One section of DIR/table.md for each part."""
