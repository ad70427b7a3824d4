"""The command medseg-r: compose a model, look at a checkpoint, train, calibrate and evaluate one.

Exit 2 where the call or what it names is wrong, 1 where the memory was too small.

Torch and transformers are imported by the commands that need them, when they run, so that `--help` is there at once.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer

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

__all__ = ["app", "main"]

_AsJson = Annotated[
    bool, typer.Option("--json", help="As JSON; an error leaves stdout empty and is told on stderr, as text.")
]
_Checkpoint = Annotated[str, typer.Option(help="Checkpoint folder, or tiny for the shipped one.")]
_Set = Annotated[Path, typer.Option(help="MedSeg-QA set, made by medseg-qa build.")]
_MostPerSet = Annotated[int | None, typer.Option(min=1, help="At most so many images of each data set, evenly spaced.")]
_Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]

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
    """Say what a checkpoint is: name, version, digest, terms, thresholds, sizes.

    Its files must be there and none cut off; the digest is as written, and compared with the weights by --verify.
    """
    try:
        described = read_description(checkpoint_folder(checkpoint))
        check_complete(described.folder)
        if verify:
            from inference.medseg_r.checkpoint import check_digest

            check_digest(described)
    except InferenceError as error:
        _failed(error)
    _print(_facts(described), as_json)


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
        follows = f"set its thresholds by its answers: medseg-r calibrate --checkpoint {written} --qa SET"
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
def evaluate(
    checkpoint: _Checkpoint,
    qa: _Set,
    split: Annotated[str, typer.Option(help="train, val, test, zero_shot, or all.")] = "test",
    as_json: _AsJson = False,
    most_per_set: _MostPerSet = None,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json, cases.png and reliability.png.")] = None,
    device: _Device = "auto",
) -> None:
    """Ask a set's questions and score masks and words. Research-only weights allow it; the result says so."""
    with _exit_on_error("evaluation"):
        from inference.evaluation.report import run_evaluation

        result = run_evaluation(checkpoint, qa, split, device=device, most_per_set=most_per_set, out=out)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    from inference.evaluation.report import table

    typer.echo(table(result))


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
    facts["model"] = stated["model"]
    return facts


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
