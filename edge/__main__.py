"""The program ``edge``, also as ``python -m edge``."""

import gc


def main() -> None:
    """Load the command line and run it.

    While modules load there is nothing to collect, and looking for it takes a twentieth of the time of a
    light verb; collection is on again before a verb runs (``edge.cli.Verbs``).
    """
    gc.disable()
    from edge.cli import main as run

    run()


if __name__ == "__main__":
    main()
