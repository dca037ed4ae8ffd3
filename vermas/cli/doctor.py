"""`vermas doctor`."""

from __future__ import annotations

from typing import Any

import click

from vermas.cli.app import current_town, json_option
from vermas.cli.output import one_line, print_json
from vermas.errors import VermasError
from vermas.town import Town
from vermas.types import Check


@click.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended without losing anything.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is wrong.")
@json_option
def doctor(fix: bool, quiet: bool, as_json: bool) -> None:
    """Check the machine, the town and its rigs. Exit code 1 when an error remains."""
    from vermas.doctor import examine

    results: list[dict[str, Any]] = []
    town, lost = _town()
    for diagnosis in examine(town):
        check = diagnosis.check
        fixed = fix and diagnosis.mend is not None
        if fixed:
            try:
                check = diagnosis.mended()
            except (VermasError, OSError) as error:
                check, fixed = Check(name=check.name, status="error", message=f"{check.message}; cannot mend it: {error}"), False
        results.append(_record(check, fixed=fixed, fixable=diagnosis.mend is not None and not fixed))
        if not as_json and (not quiet or fixed or check.status != "ok"):
            _say(check)
    if lost is not None:
        results.append(_record(lost, fixed=False, fixable=False))
        if not as_json:
            _say(lost)
    if as_json:
        print_json(results)
    if any(result["status"] == "error" for result in results):
        raise click.exceptions.Exit(1)


def _town() -> tuple[Town | None, Check | None]:
    try:
        return current_town(), None
    except VermasError as error:
        return None, Check(name="town", status="error", message=str(error))


def _record(check: Check, *, fixed: bool, fixable: bool) -> dict[str, Any]:
    return {
        "name": check.name,
        "status": check.status,
        "message": check.message,
        "hint": check.hint,
        "fixed": fixed,
        "fixable": fixable,
    }


def _say(check: Check) -> None:
    print(f"{check.status:<8} {one_line(check.name)}: {one_line(check.message)}")
    if check.hint and check.status != "ok":
        print(f"         → {one_line(check.hint)}")
