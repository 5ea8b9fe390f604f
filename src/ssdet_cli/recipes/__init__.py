"""One module per command: build the parts, call the engine, write the result."""
