"""What captures and documents say, in order, whatever they are drawn on: the one description of their content."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from dicom_node.headers.elements import integer, text
from dicom_node.headers.functional_groups import number_of_frames
from dicom_node.results import codes
from dicom_node.results.caveats import size_caveat
from dicom_node.results.colours import colour_of
from dicom_node.results.finding import Drawn, Finding, ReadAnswer, ReadPart, ResultContext, Reviewer
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.lettering import shown
from dicom_node.results.measurement import Measurement, MeasurementKind
from dicom_node.volumes.projection import SpacingBasis

__all__ = [
    "UNVERIFIED",
    "VERIFIED",
    "Block",
    "Fields",
    "FindingRow",
    "Findings",
    "Paragraph",
    "Style",
    "banner",
    "identity_line",
    "part_heading",
    "summary",
]  # fmt: skip

UNVERIFIED = "AI result, not verified by a person"
VERIFIED = "AI result, verified by a person"
_LONGEST_TEXT = 6000
"""Letters of one text that are shown: two pages of a capture. What is left out is counted."""
_MOST_NAMES = 60
_SIZES = (MeasurementKind.VOLUME, MeasurementKind.AREA)
_NOT_STATED = "not stated"
_REPLACED = "letters replaced one by one; the name may be read otherwise"


class Style(Enum):
    """How a paragraph is set."""

    HEADING = "heading"
    QUESTION = "question"
    ANSWER = "answer"
    PLAIN = "plain"
    QUIET = "quiet"
    WARNING = "warning"


@dataclass(frozen=True)
class Paragraph:
    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True)
class Fields:
    """Names and values, two columns."""

    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FindingRow:
    """A finding as a row of the table.

    `colour`: of its contour. `confidence`: None: a person drew it. `beneath`: lines that go with it.
    """

    colour: tuple[int, int, int]
    name: str
    side: str
    size: str
    long_axis: str
    confidence: float | None
    beneath: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    rows: tuple[FindingRow, ...]


Block = Paragraph | Fields | Findings


def banner(context: ResultContext) -> str:
    """What stands at the top of every page."""
    if context.terms:
        return f"{shown(context.terms).upper()} - not for clinical use"
    return UNVERIFIED if context.reviewer is None else VERIFIED


def identity_line(identity: ResultIdentity) -> str:
    """Who it is about, in one line for every page."""
    values = dict(_patient(identity))
    told = [values["Patient"] if values["Patient"] != _NOT_STATED else "name not stated"]
    for name, keyword in (("ID", "Patient ID"), ("born", "Born"), ("study", "Study date")):
        told.append(f"{name} {values[keyword]}")
    if values["Accession number"] != _NOT_STATED:
        told.append(f"accession {values['Accession number']}")
    return " · ".join(told)


def summary(
    parts: Sequence[ReadPart], context: ResultContext, identity: ResultIdentity, notes: Sequence[str]
) -> Iterator[Block]:
    """Patient and study, what was read, each question with its answer and findings, notes, and who answered."""
    yield Fields((*_patient(identity), ("Read", _what_was_read(parts))))
    for part in parts:
        if len(parts) > 1 or part.volume.name:
            yield Paragraph(f"Part {part.ordinal + 1} of {len(parts)}: {part_heading(part)}", Style.HEADING)
        for answer in part.answers:
            yield from _answer(part, answer)
    yield from _explained(parts)
    if notes:
        yield Paragraph("Notes", Style.HEADING)
        yield from (Paragraph(_shortened(note), Style.WARNING) for note in notes)
    yield Paragraph("Who answered", Style.HEADING)
    yield Fields(
        (
            ("Algorithm", shown(f"{context.algorithm_name}, version {context.algorithm_version}")),
            ("Weights", f"sha256 {context.weights_digest[:12]}"),
            ("Protocol", shown(context.named_protocol) or _NOT_STATED),
            ("Made", context.created.strftime("%Y-%m-%d %H:%M")),
            ("Terms", shown(context.terms).upper() if context.terms else "none"),
            *(() if context.reviewer is None else (("Verified by", _verified_by(context.reviewer)),)),
            ("State", "a reader's own report is the one that counts"),
        )
    )


def _verified_by(reviewer: Reviewer) -> str:
    named = _person([reviewer.name]), shown(reviewer.organisation), reviewer.at.strftime("%Y-%m-%d %H:%M")
    return ", ".join(filter(None, named))


def part_heading(part: ReadPart) -> str:
    """What tells a part from others, as people find it in a viewer."""
    sources = part.volume.sources
    numbers = sorted(found for source in sources if (found := integer(source, "InstanceNumber")) is not None)
    images = ""
    if len(numbers) == 1:
        images = f"image {numbers[0]}"
    elif numbers:
        images = f"images {numbers[0]} to {numbers[-1]}"
    return ", ".join(filter(None, [shown(part.volume.name), images, _extent(part)]))


def _explained(parts: Sequence[ReadPart]) -> Iterator[Block]:
    """What words of the pages mean, once."""
    findings = [finding for part in parts for finding in part.findings]
    if any(finding.drawn is Drawn.MODEL for finding in findings):
        yield Paragraph(
            "Confidence: expected overlap with a reader's outline, 0 to 1; not a probability of disease.", Style.QUIET
        )
    if any(item.at_least for finding in findings for item in finding.measurements):
        yield Paragraph('"At least": it touches the edge of what was imaged and may go on.', Style.QUIET)
    if any(answer.not_seen for part in parts for answer in part.answers):
        yield Paragraph('"Not seen" means that no mask was delivered, not that it is absent.', Style.QUIET)
    if any(answer.not_assessed for part in parts for answer in part.answers):
        yield Paragraph('"Not assessed" means that it was not looked for: it may be there or not.', Style.QUIET)


def _answer(part: ReadPart, answer: ReadAnswer) -> Iterator[Block]:
    yield Paragraph(_shortened(answer.question), Style.QUESTION)
    yield Paragraph(_shortened(answer.text) or "(no text)", Style.ANSWER)
    if answer.findings:
        yield Findings(tuple(_row(part, finding) for finding in answer.findings))
    elif not answer.goes_on:
        yield Paragraph("Nothing was marked.", Style.PLAIN)
    if answer.not_seen:
        names = [_capitalised(shown(concept.label)) for concept in answer.not_seen]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield Paragraph(f"Looked for and not seen: {', '.join(names[:_MOST_NAMES])}{more}.", Style.PLAIN)
    for missing in answer.not_assessed[:_MOST_NAMES]:
        yield Paragraph(_shortened(f"Not assessed: {missing.told}"), Style.PLAIN)
    if len(answer.not_assessed) > _MOST_NAMES:
        yield Paragraph(f"Not assessed: {len(answer.not_assessed) - _MOST_NAMES} more.", Style.PLAIN)
    yield from (Paragraph(_shortened(sentence), Style.PLAIN) for sentence in answer.compared)
    yield from (Paragraph(_shortened(one.text), Style.PLAIN) for one in answer.pointed_out)


def _row(part: ReadPart, finding: Finding) -> FindingRow:
    concept, kinds = finding.concept, {item.kind: item for item in finding.measurements}
    unknown = part.volume.pixel_spacing_mm is None and not finding.low_confidence
    size = next((_text_of(kinds[kind]) for kind in _SIZES if kind in kinds), "no pixel spacing" if unknown else "-")
    beneath = [f"since the prior: {shown(change.text)}" for change in finding.changes]
    if finding.drawn is not Drawn.MODEL:
        beneath.insert(0, finding.assurance)
    if finding.low_confidence:
        beneath.insert(0, "low confidence, not measured")
    others = [item for item in finding.measurements if item.kind not in (*_SIZES, MeasurementKind.LONG_AXIS)]
    if others:
        beneath.insert(0, "; ".join(f"{item.name} {item.text}" for item in others))
    if caveat := size_caveat(part, finding):
        beneath.insert(0, f"size {caveat}")
    return FindingRow(
        colour_of(concept.label),
        _capitalised(shown(concept.label)),
        shown(concept.laterality.meaning) if concept.laterality is not None else "-",
        size,
        _text_of(kinds.get(MeasurementKind.LONG_AXIS)),
        finding.confidence if finding.drawn is Drawn.MODEL else None,
        tuple(beneath),
    )


def _text_of(measurement: Measurement | None) -> str:
    """Number and unit stay in one line."""
    if measurement is None:
        return "-"
    bound = "at least " if measurement.at_least else ""
    at_detector = measurement.method is not None and measurement.method == codes.SPACING_METHODS[SpacingBasis.DETECTOR]
    where = " at the detector" if at_detector else ""  # a Code cannot be compared with None
    return bound + measurement.text.removeprefix(bound).replace(" ", "\u00a0", 1) + where


def _capitalised(name: str) -> str:
    return f"{name[:1].upper()}{name[1:]}"


def _shortened(text: str) -> str:
    """A text as it is shown, and where it is too long how much of it is left out."""
    line = shown(text)
    if len(line) <= _LONGEST_TEXT:
        return line
    return f"{line[:_LONGEST_TEXT]} [... {len(line) - _LONGEST_TEXT} more letters of this text are left out here.]"


def _patient(identity: ResultIdentity) -> Iterator[tuple[str, str]]:
    source = identity.source

    def first(keyword: str) -> str:
        values = source.texts(keyword)
        if values:
            return shown(values[0])[:200]
        element = source.element(keyword)
        value = element.value if element is not None else b""
        return shown(value.decode("latin-1").strip(" \0")) if isinstance(value, bytes) else ""

    yield "Patient", _person(source.texts("PatientName")) or _NOT_STATED
    yield "Patient ID", first("PatientID") or _NOT_STATED
    yield "Born", _date(first("PatientBirthDate")) or _NOT_STATED
    yield "Sex", first("PatientSex") or _NOT_STATED
    yield "Study date", _date(first("StudyDate")) or _NOT_STATED
    yield "Accession number", first("AccessionNumber") or _NOT_STATED
    if description := first("StudyDescription"):
        yield "Study", description


def _person(names: Sequence[str]) -> str:
    """A person name (PS3.5 6.2.1) for people: its alphabetic group, else the phonetic one, else the ideographic one.

    Letters that the font lacks are replaced by Latin ones. How a Chinese or Japanese sign is read is not in the sign.
    """
    alphabetic, ideographic, phonetic = [*(names[0] if names else "").split("="), "", ""][:3]
    group = next((one for one in (alphabetic, phonetic, ideographic) if one.strip(" ^")), "")
    family, _, given = group.partition("^")
    written = ", ".join(filter(None, (" ".join(part.replace("^", " ").split()) for part in (family, given))))
    latin = shown(written)[:200]
    if latin == " ".join(written.split()):
        return latin
    return f"{latin} ({_REPLACED if any(map(_is_sign, written)) else 'in Latin letters'})"


def _is_sign(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("CJK ")


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdecimal() else value


def _what_was_read(parts: Sequence[ReadPart]) -> str:
    source = parts[0].volume.source
    number, description = integer(source, "SeriesNumber"), shown(text(source, "SeriesDescription"))[:100]
    series = " ".join(filter(None, ["series", str(number or ""), f'"{description}"' if description else ""]))
    told = [shown(parts[0].volume.modality) or "images", series]
    told.append(_extent(parts[0]) if len(parts) == 1 else f"{len(parts)} parts")
    return ", ".join(told)


def _extent(part: ReadPart) -> str:
    """How much was read of what there is."""
    volume, count = part.volume, int(part.volume.values.shape[0])
    if volume.geometry is not None:
        return "1 slice" if count == 1 else f"{count} slices"
    frames = number_of_frames(volume.source)
    if frames > 1:
        return f"{count} of {frames} frames"
    return "1 image" if count == 1 else f"{count} images"
