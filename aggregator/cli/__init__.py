"""``fleet``: one file a verb, loaded when it is called."""

import importlib
from collections.abc import Sequence
from typing import Any

import click

from aggregator.cli.common import LANGUAGE_KEY, leave, say
from models.answer import Exit

VERBS = {
    "serve": "aggregator.cli.serve",
    "status": "aggregator.cli.status",
    "sites": "aggregator.cli.sites",
    "dispatch": "aggregator.cli.dispatch",
    "keys": "aggregator.cli.keys",
}
"""Each module has a click command named ``command``."""


class _Verbs(click.Group):
    """A group that imports a verb when it is needed, so that ``fleet status`` starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a day's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one verb."""
        if cmd_name not in VERBS:
            return None
        verb: click.Command = importlib.import_module(VERBS[cmd_name]).command
        return verb

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; Ctrl-C ends it with its own exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            leave(Exit.INTERRUPTED)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the program is, in the wanted language."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(
                say(
                    "Many storage sites as one: see them and dispatch them.",
                    "把众多储能站点作为一个整体查看和调度。",
                )
            )


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--lang", type=click.Choice(["en", "zh"]), help="Language of the texts / 输出语言")
@click.version_option(package_name="yunchu", prog_name="fleet")
@click.pass_context
def fleet(context: click.Context, lang: str | None) -> None:
    """Many storage sites as one."""
    context.meta[LANGUAGE_KEY] = lang


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    fleet.main(args=None if arguments is None else list(arguments), prog_name="fleet")
