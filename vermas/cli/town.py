"""`vermas init`."""

from __future__ import annotations

import os

import click

from vermas.cli.app import json_option
from vermas.cli.output import emit, one_line
from vermas.config import load
from vermas.town import Town, create

_NEXT = """\
next:
  {cd}vermas rig add NAME ORIGIN --check "COMMAND"   # a project: the URL or path of its git repository
  vermas bead create TITLE --rig NAME
  vermas run"""


@click.command()
@click.argument("directory", default=".", metavar="[DIR]")
@json_option
def init(directory: str, as_json: bool) -> None:
    """Make a town in DIR (here by default). Repeating it completes an interrupted one and changes nothing else."""
    existed = os.path.exists(Town(directory).id_file)
    town = create(directory)
    config = load(town)
    data = {"town": town.root, "id": town.id, "name": config.town.name, "created": not existed}
    here = os.path.realpath(os.getcwd())
    step = "" if town.root == here else f"cd {one_line(os.path.relpath(town.root, here))}\n  "
    said = f"{one_line(town.root)} is a town already" if existed else f"made the town {config.town.name!r} in {one_line(town.root)}"
    emit(data, as_json, f"{said}\n{_NEXT.format(cd=step)}")
