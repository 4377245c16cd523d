"""The command line: one file of options a command, and the work behind it."""
