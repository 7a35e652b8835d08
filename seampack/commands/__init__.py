"""The commands, one module per group. A module imports heavy packages only inside the command that needs them."""
