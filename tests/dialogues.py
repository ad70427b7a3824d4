"""docs/dialogues.md and its pictures, and README's: real images, and what the shipped weights answer.

    python -m tests.dialogues ../shared/data/dicom docs

Every answer is what the predictor says when this runs; nothing is written by hand but the questions and README's
captions: read those again.
"""

from __future__ import annotations

import colorsys
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from inference.errors import QuestionRefused
from inference.evaluation.clinic.questions import LoadedImage, read_images
from inference.evaluation.clinic.report import outlined
from inference.interface import Answer, Exchange, Predictor, Question, SeenTarget
from inference.open import open_predictor
from workflows.datasets.clinic import load_image


@dataclass(frozen=True)
class Dialogue:
    """An image of the clinical questions, where it is from, and what is asked about it, each turn after the others."""

    image: str
    title: str
    source: str
    questions: tuple[str, ...]


DIALOGUES = (
    Dialogue(
        "abdomen",
        "A CT of the upper abdomen",
        "TotalSegmentator's reference CT, Apache-2.0, github.com/wasserth/TotalSegmentator",
        (
            "Where are the liver and the splen?",
            "Which of the two is larger?",
            "And the left kidney?",
            "Is there a tumour in the liver?",
        ),
    ),
    Dialogue(
        "dome",
        "Three slices at the dome of the liver",
        "dcmqi's test data, BSD 3-Clause, github.com/QIICR/dcmqi",
        ("Segment everything except the stomach.", "Wo ist die Milz?", "How big is it?"),
    ),
    Dialogue(
        "mr_abdomen",
        "An MR of the upper abdomen",
        "pydicom's test file examples_overlay.dcm, MIT, github.com/pydicom/pydicom",
        ("Where is the liver?", "Is there a focal lesion in it?"),
    ),
    Dialogue(
        "head_mr",
        "An MR of a head",
        "dcm_qa_decubitus, series HFP, C. Rorden, BSD 2-Clause, github.com/neurolabusc/dcm_qa_decubitus",
        ("Where is the hippocampus?", "Is there a brain tumour?", "hello"),
    ),
    Dialogue(
        "dog",
        "A lateral radiograph of a dog's chest",
        "highdicom's test file, MIT, github.com/ImagingDataCommons/highdicom",
        ("Segment the left lung in this chest radiograph.", "Any consolidation?"),
    ),
)


README = (
    ("ask-liver", "abdomen", "Where is the liver?"),
    ("ask-mr", "head_mr", "Where is the hippocampus?"),
    ("ask-radiograph", "dog", "Segment the left lung in this chest radiograph."),
)
"""The pictures of the page that everybody reads first: name, image, question."""


def write_pictures(images: Path, docs: Path) -> None:
    """Have `medseg-node ask` answer README's questions, and keep the pictures that it draws."""
    for name, image, question in README:
        with tempfile.TemporaryDirectory() as out:
            words = ["ask", str(images / read_images()[image].path), question, "--out", out]
            subprocess.run([sys.executable, "-m", "workflows.commands.cli", *words], check=True)
            shutil.copyfile(Path(out) / "overlay.png", docs / "images" / f"{name}.png")


def write(images: Path, docs: Path, predictor: Predictor) -> None:
    """Hold the dialogues and write dialogues.md and images/dialogue-N.png below `docs`."""
    described = predictor.description
    lines = [
        "# Five dialogues",
        "",
        f"What {described.name} {described.version} (sha256 {described.digest[:12]}...) answers, each question going "
        "on from those before it; `python -m tests.dialogues` asks again. Outlines are drawn on the slice on which "
        f"most is marked. Terms: {described.terms or 'none recorded'}. Not a medical device.",
    ]
    for number, dialogue in enumerate(DIALOGUES, start=1):
        lines += ["", f"## {number}. {dialogue.title}", ""]
        lines += _held(dialogue, load_image(images, read_images()[dialogue.image]), docs, number, predictor)
    (docs / "dialogues.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _held(dialogue: Dialogue, loaded: LoadedImage, docs: Path, number: int, predictor: Predictor) -> list[str]:
    earlier: list[Exchange] = []
    targets: dict[str, SeenTarget] = {}
    turns: list[str] = []
    for text in dialogue.questions:
        try:
            [answer] = predictor.answer(loaded.stack, [Question(text, tuple(earlier))])
        except QuestionRefused as refusal:
            turns += [f"> **{text}**", ">", f"> *Refused:* {refusal}", ""]
            continue
        targets |= {target.phrase: target for target in answer.targets}
        earlier.append(Exchange(text, answer.text, tuple(target.phrase for target in answer.targets)))
        turns += [f"> **{text}**", ">", f"> {_told(answer)}", ""]
    colours = [_colour(place, len(targets)) for place in range(len(targets))]
    picture, shown = outlined(loaded.stack, list(targets.values()), colours)
    picture.save(docs / "images" / f"dialogue-{number}.png", optimize=True)
    names = ", ".join(f"{phrase} {_name(colour)}" for phrase, colour in zip(targets, colours, strict=True))
    marked = f"Outlined on slice {shown + 1}: {names}." if targets else "Nothing is outlined."
    alt = f"{dialogue.title}, with the outlines of {', '.join(targets)}" if targets else f"{dialogue.title}, no outline"
    return [f"![{alt}](images/dialogue-{number}.png)", "", f"*{marked} Image: {dialogue.source}.*", "", *turns[:-1]]


def _told(answer: Answer) -> str:
    sure = "; ".join(f"{target.phrase} {target.confidence:.2f}" for target in answer.targets)
    return answer.text + (f" *(confidence: {sure})*" if sure else "")


_NAMES = ("red", "yellow", "green", "cyan", "blue", "magenta")


def _colour(place: int, of: int) -> tuple[int, int, int]:
    """As far from each other as so many hues can be."""
    red, green, blue = colorsys.hsv_to_rgb(place / max(of, len(_NAMES)), 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _name(colour: tuple[int, int, int]) -> str:
    hue = colorsys.rgb_to_hsv(*(value / 255 for value in colour))[0]
    return _NAMES[round(hue * len(_NAMES)) % len(_NAMES)]


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), open_predictor("tiny"))
    write_pictures(Path(sys.argv[1]), Path(sys.argv[2]))
