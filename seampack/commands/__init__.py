"""The commands, a module for each group. Heavy imports are inside the command that needs them."""
