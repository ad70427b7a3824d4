"""medseg-node protocols keep: a real study's headers become an example of a protocol, without whose they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workflows.bootstrap import checked_rules
from workflows.commands import tried
from workflows.commands.trying import Config, Rules, rules_of, settings_of, studies_of
from workflows.errors import CallError
from workflows.protocols.example_text import ExampleNotPlaced, example_text, with_example
from workflows.protocols.keeping import keep as keep_example
from workflows.protocols.replaying import replay
from workflows.protocols.rule_files import digest_of_file
from workflows.settings import Settings
from workflows.steps.trying_rules import rules_in_folder

__all__ = ["register"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def register(protocols_app: typer.Typer) -> None:
    """Add the command."""
    protocols_app.command("keep")(keep)


def keep(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A folder of DICOM files, a UID or an accession number.")
    ],
    protocol: Annotated[str, typer.Option("--protocol", metavar="NAME", help="The protocol that gets the example.")],
    no_match: Annotated[bool, typer.Option("--no-match", help="It must not match.")] = False,
    title: Annotated[str, typer.Option("--title", help="What it shows, without a name.")] = "",
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE", help="Add it to the examples of this protocol's file.")
    ] = None,
    protocols: Rules = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Keep a real study's headers as an example of a protocol, without whose they are.

    Kept is what rules of the folder ask and little else: no name, ID, date or UID, whatever a rule asks. Texts that
    people write are kept if a rule of this protocol asks them: read them before you pass them on.

    Example: medseg-node protocols keep A-20917 --protocol abdominal-ct --into deploy/protocols/abdominal-ct.yaml
    """
    settings = settings_of(config)
    rules = rules_of(settings, into.parent if into is not None and protocols is None else protocols)
    chosen = rules.named(protocol)
    found = studies_of(study, settings)
    if len(found) != 1:
        listed = "\n".join(f"  {one.known.header.study_uid}" for one in found)
        raise CallError(
            f"{study} names {len(found)} studies; name one of them, by its UID or a folder of its own:\n{listed}"
        )
    (one,) = found
    kept = keep_example(one.kept, chosen, rules.protocols, matches=not no_match, title=title, identity=one.identity)
    if not no_match and not kept.example["asks"]:
        reasons = "; ".join(dict.fromkeys(
            verdict.reason for verdict in replay([one.known], [chosen])[0].verdicts if not verdict.asked
        ))  # fmt: skip
        raise CallError(f"{protocol} does not ask this study ({reasons}); with --no-match it is kept as one not to ask")
    text = example_text(kept.example)
    if kept.mistake:
        tried.show_kept(kept, text, err)
        raise CallError(f"this cannot be kept as an example of {protocol}: {kept.mistake}")
    if into is None:
        tried.show_kept(kept, text, err if not out.is_terminal else out)
        if not out.is_terminal:
            print(text, end="")
        return
    if digest_of_file(into.read_bytes()) != chosen.digest:
        raise CallError(f"{into} is not the file of {protocol}: name the file that {protocol} stands in")
    tried.show_kept(kept, text, err)
    if not yes:
        typer.confirm(f"add this to the examples in {into}?", abort=True, err=True)
    _add(into, kept.example, settings)
    err.print(f"added to {into}; {protocol} decides as it did", markup=False, highlight=False)


def _add(into: Path, example: dict[str, object], settings: Settings) -> None:
    """Write the file with the example, and put back what it was where the folder has a mistake then."""
    before = into.read_bytes()
    try:
        into.write_text(with_example(before.decode("utf-8"), example), "utf-8")
    except (ExampleNotPlaced, UnicodeDecodeError) as error:
        raise CallError(f"{into}: {error}") from error
    try:
        rules_in_folder(into.parent, partial(checked_rules, settings))
    except BaseException:
        into.write_bytes(before)
        raise
