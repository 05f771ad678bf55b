"""The program ``edge``, also as ``python -m edge``."""

import gc


def main() -> None:
    """Load the command line and run it.

    A light verb is done in a few hundredths of a second, of which looking for garbage while modules load, and
    once more at the end, would take a tenth. Collection is on while a verb runs (``edge.cli.Verbs``).
    """
    gc.disable()
    from edge.cli import main as run

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
