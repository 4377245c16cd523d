"""The process in which the user's code runs; nothing here is imported by the rest of the tool."""
