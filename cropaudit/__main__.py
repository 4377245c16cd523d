"""Runs the command line: ``python -m cropaudit``."""

from cropaudit.cli import main

if __name__ == "__main__":
    main()
