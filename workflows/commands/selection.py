"""Selectors of commands: which studies a person means, declared once for all commands that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from workflows.errors import CallError
from workflows.steps.selecting import moment_of, selection_of

__all__ = ["json_asks_nothing", "moment_of", "selection_of", "with_selectors"]

_SELECTORS: dict[str, Any] = {
    "study": typer.Option("--study", metavar="UID", help="Study Instance UID."),
    "accession": typer.Option("--accession", metavar="N", help="Accession number."),
    "state": typer.Option("--state", help="A study's state, such as FAILED."),
    "protocol": typer.Option("--protocol", metavar="NAME", help="Asked by this reading protocol."),
    "patient": typer.Option("--patient", metavar="ID", help="Patient ID of any of its instances."),
    "since": typer.Option("--since", help="Last instance since then: 2d, 12h, or 2026-11-01."),
    "until": typer.Option("--until", help="Last instance until then: 2d, 12h, or 2026-11-01."),
}


def with_selectors(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the selectors as options in place of its parameter `selection`, which becomes a Selection.

    Typer looks at a function's signature for its options, so this writes one.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "selection":
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        for name, option in _SELECTORS.items():
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameters.append(inspect.Parameter(name, kind, default=None, annotation=Annotated[str | None, option]))

    def chosen(**given: Any) -> None:
        selected = selection_of(**{name: given.pop(name) for name in _SELECTORS})
        command(selection=selected, **given)

    chosen.__name__, chosen.__doc__ = command.__name__, command.__doc__
    chosen.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    chosen.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return chosen


def json_asks_nothing(*, as_json: bool, yes: bool, dry_run: bool) -> None:
    """Where JSON is printed nothing can be asked: raises CallError unless --yes or --dry-run says what is wanted."""
    if as_json and not (yes or dry_run):
        raise CallError("with --json nothing is asked: give --yes, or --dry-run first")
