"""``python -m rewarm`` is the command line."""

from rewarm.cli import main

if __name__ == "__main__":
    main()
