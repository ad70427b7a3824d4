"""The command medseg-r: compose a model, look at a checkpoint, train, calibrate and evaluate one.

Exit 2 where the call or what it names is wrong, 1 where the memory was too small.

Torch and transformers are imported by the commands that need them, when they run, so that `--help` is there at once.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer

from inference.card import LearnedLabel, card_to_json
from inference.errors import CheckpointError, InferenceError, OutOfMemory
from inference.medseg_r.config import PRESET_TERMS, PRESETS, MedSegRConfig
from inference.medseg_r.description import (
    LANGUAGE_FOLDER,
    SHIPPED,
    CheckpointDescription,
    check_complete,
    checkpoint_folder,
    read_description,
)
from inference.medseg_r.footprint import footprint_of, free_memory_bytes
from inference.plugin import is_class_name
from inference.remote import is_address

__all__ = ["app", "main"]

_AsJson = Annotated[
    bool, typer.Option("--json", help="As JSON; an error leaves stdout empty and is told on stderr, as text.")
]
_Checkpoint = Annotated[str, typer.Option(help="Checkpoint folder, or tiny for the shipped one.")]
_Set = Annotated[Path, typer.Option(help="MedSeg-QA set, made by medseg-qa build.")]
_MostPerSet = Annotated[int | None, typer.Option(min=1, help="At most so many images of each data set, evenly spaced.")]
_Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]

_CLINIC_IMAGES = Path("../shared/data/dicom")

clinic_loader: Callable[[Path], Any] | None = None
"""Makes what reads the images of --clinic from their folder; the installed command sets it (workflows/datasets)."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="MedSeg-R: compose a model from downloaded parts, train it, calibrate it, measure it, look at a checkpoint.",
)


@app.command()
def init(
    preset: Annotated[str, typer.Option(help=f"{', '.join(PRESETS)}; or a JSON file with the same settings.")],
    language_model: Annotated[Path, typer.Option(help="Folder of a downloaded Hugging Face image-text-to-text model.")],
    grounding: Annotated[Path, typer.Option(help="SAM or MedSAM checkpoint, .pth.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    terms: Annotated[
        str | None, typer.Option(help="Terms of use of the parts, instead of the preset's; empty for none.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in every result; the preset's without it.")] = None,
) -> None:
    """Compose a checkpoint; it answers only after it has been trained."""
    config, known_terms = _preset(preset)
    _make_new_folder(out)
    from inference.medseg_r.compose import compose

    try:
        described = compose(
            config,
            language_model,
            grounding,
            out,
            name=name or Path(preset).stem,
            terms=known_terms if terms is None else terms or None,
        )
    except InferenceError as error:
        if not any(out.iterdir()):
            out.rmdir()
        _failed(error)
    typer.echo(f"{out}: {described.name}, sha256 {described.digest}")
    typer.echo(f"terms: {described.terms or 'none recorded; if its parts have any, compose again with --terms'}")
    typer.echo("its added tokens and P_l are new: train it before it is asked anything (medseg-r train)")


@app.command()
def info(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or tiny for the shipped one.")],
    as_json: _AsJson = False,
    verify: Annotated[bool, typer.Option(help="Read all weights and compare them with the digest.")] = False,
) -> None:
    """Say what a checkpoint is: name, version, digest, terms, thresholds, sizes, and what it has learned.

    Its files must be there and none cut off; the digest is as written, and compared with the weights by --verify.
    """
    if is_address(checkpoint) or is_class_name(checkpoint):
        served = "" if is_address(checkpoint) else f"; medseg-r serve --checkpoint {checkpoint} answers nodes with it"
        _fail(f"info reads checkpoint folders; {checkpoint} is none: medseg-r conform {checkpoint} checks it{served}")
    try:
        described = read_description(checkpoint_folder(checkpoint))
        check_complete(described.folder)
        if verify:
            from inference.medseg_r.checkpoint import check_digest

            check_digest(described)
    except InferenceError as error:
        _failed(error)
    facts = _facts(described)
    if as_json:
        _print(facts, as_json)
        return
    if described.card is not None:
        facts |= {
            "card": f"{len(described.card.labels)} entries of labels",
            "learned": _by_modality(described.card.labels),
        }
    typer.echo("\n".join(_lines(facts)))


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="TOML file; medseg-r settings prints one to begin with.")],
) -> None:
    """Run one stage of training, or go on with one that was stopped."""
    with _exit_on_error("training"):
        from inference.training.run import run_training
        from inference.training.settings import read_settings

        wanted = read_settings(config)
        typer.echo(f"{wanted.stage}: reading data and weights; then its steps are counted", err=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's way to say Ctrl-C
        try:
            written = run_training(wanted)
        except KeyboardInterrupt:
            _fail(f"stopped; the same command goes on from the last state in {wanted.out}, if it came to one", 130)
    typer.echo(f"written: {written}")
    if wanted.stage in ("compose", "joint"):
        follows = (
            f"note what it has learned: medseg-r card --checkpoint {written} --qa SET; "
            f"set its thresholds by its answers: medseg-r calibrate --checkpoint {written} --qa SET"
        )
    else:
        follows = f'make it a checkpoint, with the other part: stage = "compose" and the same out ({wanted.out})'
    typer.echo(f"next: {follows}", err=True)


@app.command()
def settings(
    stage: Annotated[str, typer.Argument(help="grounding and language, then compose, build tiny; joint trains any.")],
) -> None:
    """Print a TOML file for `train` with every setting of a stage: medseg-r settings joint > run.toml."""
    with _exit_on_error("training"):
        from inference.training.settings import STAGES, settings_template

        if stage not in STAGES:
            _fail(f"there is no stage {stage!r}; it is one of {', '.join(STAGES)}")
        typer.echo(settings_template(stage), nl=False)


@app.command()
def calibrate(
    checkpoint: Annotated[str, typer.Option(help="Checkpoint folder; its checkpoint.json is rewritten.")],
    qa: _Set,
    split: Annotated[str, typer.Option(help="A split that neither trained the model nor will test it.")] = "val",
    as_json: _AsJson = False,
    most_per_set: _MostPerSet = None,
    device: _Device = "auto",
) -> None:
    """Set a trained checkpoint's thresholds and confidence by its own answers: after train, before evaluate."""
    folder = checkpoint_folder(checkpoint)
    if folder.resolve() == SHIPPED:
        _fail("tiny is part of the program; copy its folder and calibrate the copy")
    with _exit_on_error("calibration"):
        from inference.training.calibration import ENOUGH, calibrate_checkpoint

        if split in ("test", "train", "all"):
            typer.echo(f"thresholds chosen on {split}: that split can no longer tell how good this is", err=True)
        result = calibrate_checkpoint(folder, qa, split, device=device, most_per_set=most_per_set)
        if result["masks"] < ENOUGH:
            typer.echo(
                f"chosen by {result['masks']} masks of things that are there; what fewer than {ENOUGH} say may not "
                "hold elsewhere: use more images",
                err=True,
            )
    _print(result, as_json)


@app.command()
def card(
    checkpoint: Annotated[str, typer.Option(help="Checkpoint folder; card.json and likeness.safetensors are written.")],
    qa: _Set,
    as_json: _AsJson = False,
    most_per_set: Annotated[int, typer.Option(min=1, help="At most so many images of each set, for likeness.")] = 360,
    device: _Device = "auto",
) -> None:
    """Note beside the weights what they have learned from a set: medseg-r card --checkpoint FOLDER --qa SET.

    What the card does not list is answered with "not assessed". Its digest enters that of the checkpoint.
    """
    folder = checkpoint_folder(checkpoint)
    if folder.resolve() == SHIPPED:
        _fail("tiny is part of the program; copy its folder and make a card for the copy")
    with _exit_on_error("making a card"):
        from inference.training.card import card_checkpoint

        result = card_checkpoint(folder, qa, device=device, most_per_set=most_per_set)
    _print(result, as_json)


@app.command()
def evaluate(
    checkpoint: _Checkpoint,
    qa: Annotated[Path | None, typer.Option(help="MedSeg-QA set, made by medseg-qa build.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test, zero_shot, or all.")] = "test",
    as_json: _AsJson = False,
    most_per_set: _MostPerSet = None,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json or clinic.json, and pictures.")] = None,
    device: _Device = "auto",
    clinic: Annotated[
        bool, typer.Option("--clinic", help="Ask the 150 questions of users, instead of a set's.")
    ] = False,
    images: Annotated[Path, typer.Option(help="With --clinic: the folder of their images.")] = _CLINIC_IMAGES,
) -> None:
    """Ask a set's questions and score masks and words; or, with --clinic, 150 questions as users would ask them.

    Research-only weights allow it; the result says so.
    """
    if clinic:
        _evaluate_clinic(checkpoint, images, as_json, out, device)
        return
    if qa is None:
        _fail("name a set with --qa, or ask the questions of users with --clinic")
    with _exit_on_error("evaluation"):
        from inference.evaluation.report import run_evaluation

        result = run_evaluation(checkpoint, qa, split, device=device, most_per_set=most_per_set, out=out)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    from inference.evaluation.report import table

    typer.echo(table(result))


def _evaluate_clinic(checkpoint: str, images: Path, as_json: bool, out: Path | None, device: str) -> None:
    if clinic_loader is None:
        _fail("--clinic reads DICOM: call the installed command medseg-r")
    with _exit_on_error("evaluation"):
        from inference.evaluation.clinic.report import clinic_table, run_clinic

        result = run_clinic(checkpoint, clinic_loader(images), device=device, out=out)
    typer.echo(json.dumps(result, indent=1, ensure_ascii=False) if as_json else clinic_table(result))


@app.command(epilog="Example: medseg-r serve --checkpoint inference.adapters.totalsegmentator:TotalSegmentator")
def serve(
    checkpoint: Annotated[str, typer.Option(help="Checkpoint folder, tiny, or module:Class of an installed package.")],
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine only with a token and TLS.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8090,
    token_file: Annotated[Path | None, typer.Option(help="File with the token that nodes must bring.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    device: _Device = "auto",
    accept_research_use: Annotated[bool, typer.Option(help="Accept weights whose terms allow research only.")] = False,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; one more is told to come later.")] = 2,
    most_mb: Annotated[int, typer.Option(min=1, help="Largest request that is taken, in MB.")] = 2048,
) -> None:
    """Answer nodes elsewhere: they name http(s)://HOST:PORT as the checkpoint of their model. Ends with SIGTERM."""
    try:
        from inference.serve.app import Served
        from inference.serve.run import serve as run
    except ImportError as error:
        _fail(f"serving needs more packages ({error.name}): pip install 'medseg-node[web]', or fastapi and uvicorn")
    from inference.open import open_model
    from inference.remote import read_token

    try:
        token = read_token(token_file)
        model = open_model(checkpoint, device, accept_research_use)
        run(Served(model, token, most_mb * 1_000_000, waiting), host, port, certificate, key)
    except InferenceError as error:
        _failed(error)


@app.command(epilog="Example: medseg-r conform my_package.adapter:Segmenter")
def conform(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, tiny, module:Class or http(s)://HOST:PORT.")],
    as_json: _AsJson = False,
    image: Annotated[
        Path | None, typer.Option(help="Image that it knows, .npz, instead of a synthetic abdomen.")
    ] = None,
    within_s: Annotated[float, typer.Option(min=1, help="Seconds in which each row must be done.")] = 600.0,
    device: _Device = "auto",
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that a remote predictor asks for.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates (PEM) that its own is signed by.")] = None,
) -> None:
    """Check that a model keeps what the interface promises: a row passes, fails, or cannot be decided; 1 if one fails.

    An image is an .npz of arrays: values, modality, spacing_mm, absent, and 'truth LABEL' for each label.
    """
    from inference.conformance.phantom import abdomen, read_sample
    from inference.conformance.rows import Checked, Outcome
    from inference.conformance.suite import check_conformance, table
    from inference.open import describe_predictor, open_model
    from inference.remote import RemoteAccess

    access = RemoteAccess(token_file, ca_file, within_s)
    try:
        sample = abdomen() if image is None else read_sample(image)
        model = open_model(checkpoint, device, accept_research_use=True, access=access)
    except InferenceError as error:
        _failed(error)
    checked = Checked(model, lambda: describe_predictor(checkpoint, True, access=access), sample)
    verdicts = check_conformance(checked, within_s, lambda row: typer.echo(f"checking {row}", err=True))
    rows = {name: {"outcome": verdict.outcome.value, "why": verdict.why} for name, verdict in verdicts.items()}
    typer.echo(json.dumps(rows, indent=2) if as_json else table(verdicts))
    if any(verdict.outcome is Outcome.FAIL for verdict in verdicts.values()):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line of MedSeg-R. Logs go to stderr: stdout is for what was asked for."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    app()


def _preset(preset: str) -> tuple[MedSegRConfig, str | None]:
    if preset in PRESETS:
        return PRESETS[preset], PRESET_TERMS[preset]
    path = Path(preset)
    if not path.is_file():
        _fail(f"there is no preset and no file {preset!r}: name one of {', '.join(PRESETS)}, or a JSON file")
    try:
        return MedSegRConfig.from_json(json.loads(path.read_text())), None
    except (OSError, ValueError, CheckpointError) as error:
        _fail(f"{path} is no model configuration: {error}; mend it, or name one of {', '.join(PRESETS)}")


def _make_new_folder(out: Path) -> None:
    """Make the folder before the work whose result it is for, or say why it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        _fail(f"--out {out} cannot be made a folder ({error.strerror}); name a new folder")
    if used:
        _fail(f"{out} is not empty; name a new folder")


def _facts(described: CheckpointDescription) -> dict[str, Any]:
    stated, folder = described.stated, described.folder
    facts = {key: stated[key] for key in ("name", "version", "digest", "terms", "thresholds")}
    facts["calibration"] = stated.get("calibration") or []
    facts["calibrated"] = stated.get("calibrated")
    language = folder / LANGUAGE_FOLDER / "config.json"
    if language.is_file():
        facts["language model"] = ", ".join(json.loads(language.read_text()).get("architectures") or ["unknown"])
    facts["LoRA"] = "apart" if (folder / "adapter").is_dir() else "none kept apart"
    weights = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    facts["megabytes"] = round(sum(path.stat().st_size for path in weights) / 1e6, 1)
    facts["card"] = "none: what it has learned is not known (medseg-r card)"
    if described.card is not None:
        facts["card"] = card_to_json(described.card) | {"labels": len(described.card.labels)}
        facts["learned"] = [_learned(entry) for entry in described.card.labels]
    room = footprint_of(described)
    facts["memory"] = {
        "weights": _megabytes(room.weights),
        "cache": _megabytes(room.cache),
        "work": _megabytes(room.work),
        "needed": _megabytes(room.whole),
        "free": _megabytes(free_memory_bytes("cpu")),
        "unit": "MB of RAM on the CPU; cache and work estimated for one slice and one question",
    }
    facts["model"] = stated["model"]
    return facts


def _learned(entry: LearnedLabel) -> str:
    of = ", ".join(filter(None, (entry.kind, *sorted(entry.regions), *sorted(entry.planes))))
    least = "" if entry.least_confidence is None else f", claimed from {entry.least_confidence:.2f}"
    return f"{entry.label} on {entry.modality} ({of}): {entry.images} images, {entry.absent} without{least}"


def _by_modality(entries: Sequence[LearnedLabel]) -> dict[str, str]:
    """The labels of each modality in a line, those of most images first."""
    labels: dict[str, dict[str, None]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.modality, -(entry.images or 0))):
        labels.setdefault(entry.modality, {})[entry.label] = None
    return {modality: ", ".join(names) for modality, names in labels.items()}


def _lines(facts: Mapping[str, Any], of: str = "") -> Iterator[str]:
    """Facts in a line each, those inside others under both names; `--json` has all of them."""
    for key, value in facts.items():
        name = f"{of} {key}".strip()
        if isinstance(value, Mapping) and value:
            yield from _lines(value, name)
        elif isinstance(value, list | tuple) and any(isinstance(entry, list | tuple | Mapping) for entry in value):
            yield f"{name:30} {len(value)} entries (--json)"
        elif isinstance(value, list | tuple | Mapping) or value is None:
            yield f"{name:30} {', '.join(map(str, value or ())) or 'none'}"
        else:
            yield f"{name:30} {value}"


def _megabytes(count: int) -> float:
    return round(count / 1e6, 1)


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        typer.echo(f"{key:16} {json.dumps(value) if isinstance(value, dict | list) else value}")


@contextmanager
def _exit_on_error(work: str) -> Iterator[None]:
    """End the command with a line that says why `work`, which needs the extras, could not be done."""
    try:
        yield
    except ImportError as error:
        _fail(f"{work} needs more packages ({error.name}): pip install 'medseg-node[train,qa]'")
    except InferenceError as error:
        _failed(error)


def _failed(error: InferenceError) -> NoReturn:
    _fail(str(error), 1 if isinstance(error, OutOfMemory) else 2)


def _fail(message: str, code: int = 2) -> NoReturn:
    typer.echo(f"medseg-r: {message}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
