"""The command line: parses, calls, prints. Heavy imports wait until a command needs them.

Exit codes: 0 consistent or done, 1 violation or failed check, 2 wrong usage or bad input,
3 inconclusive with ``--strict``, 4 interrupted.
"""
