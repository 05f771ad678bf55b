"""``python -m aggregator``: the same as ``fleet``."""

from aggregator.cli import main

if __name__ == "__main__":
    main()
