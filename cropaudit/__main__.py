"""Runs the command line: ``python -m cropaudit``."""

from cropaudit.cli.app import main

if __name__ == "__main__":
    main()
