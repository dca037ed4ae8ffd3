"""The click application: verbs are loaded when they are typed."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from vermas.cli import IN_SESSION
from vermas.cli.verbs import NOUNS, VERBS, help_text, plugin_verbs
from vermas.errors import PluginError, UsageError
from vermas.names import nearest
from vermas.town import Town, find

if TYPE_CHECKING:
    from vermas.plugins import Installed

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def current_town() -> Town:
    """The town that the running command is about."""
    return find(click.get_current_context().find_root().params.get("town"))


class Verbs(click.Group):
    """The top group, by name from the table and from plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *sorted(plugin_verbs())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in VERBS:
            module, _, attribute = VERBS[cmd_name][1].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        entry = plugin_verbs().get(cmd_name)
        return None if entry is None else _plugin_command(entry)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            name = _unabbreviated(name, known)
        return super().resolve_command(ctx, [name, *args[1:]])

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(help_text())


def _unabbreviated(name: str, known: list[str]) -> str:
    """The noun that `name` is the beginning of, when nothing else begins so."""
    begin_so = [verb for verb in known if verb.startswith(name)]
    if len(begin_so) == 1 and begin_so[0] in NOUNS:
        return begin_so[0]
    if len(begin_so) > 1:
        raise UsageError(f"{name!r} may be {' or '.join(begin_so)}: write it out")
    raise UsageError(f"no command {name!r}{nearest(name, known)}")


def _plugin_command(entry: Installed) -> click.Command:
    from vermas.plugins import import_entry_point

    command = import_entry_point(entry)
    if not isinstance(command, click.Command):
        raise PluginError(f"command {entry.name!r} of {entry.source} is a {type(command).__name__}, not a click command ({entry.module})")
    return command


@click.group(cls=Verbs, name="vermas", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("-C", "--town", metavar="DIR", help="The town.")
def vermas(town: str | None) -> None:
    """Pytest for fleets of coding agents."""


def _in_session(verb: str) -> click.Command:
    """The click face of an in-session verb, for `vermas -C TOWN VERB`; plain `vermas VERB` does not come by here."""

    def call(arguments: tuple[str, ...]) -> None:
        import os

        from vermas.cli.insession import main as in_session

        town = click.get_current_context().find_root().params.get("town")
        if town is not None:
            os.environ["VERMAS_TOWN"] = town
        raise click.exceptions.Exit(in_session(verb, list(arguments)))

    arguments = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "help_option_names": [], "allow_interspersed_args": False}
    return click.Command(verb, params=[arguments], callback=call, context_settings=settings, add_help_option=False, help=VERBS[verb][2])


signal, assignment, done, handoff, prime = (_in_session(verb) for verb in IN_SESSION)


def run(arguments: list[str]) -> int:
    """Run a command line; the exit code, or an exception of VerMAS."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal that cannot show a character must not end a command
    try:
        result = vermas.main(arguments, prog_name="vermas", standalone_mode=False)
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return result if isinstance(result, int) else 0
