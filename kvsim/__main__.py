"""`python -m kvsim`."""

from kvsim.cli.main import main

if __name__ == "__main__":
    main()
