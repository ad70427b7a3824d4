"""Prompts for language models, and the conversations in their replies."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import yaml

from inference.medseg_qa.checks import check_conversation, repaired_answer
from inference.medseg_qa.compose import ImageFacts
from inference.medseg_qa.errors import AnnotatorError
from inference.medseg_qa.knowledge import load_knowledge
from inference.medseg_qa.measure import percent_text, side_text, zone_text
from inference.medseg_qa.records import Conversation, turn_from_json

__all__ = ["messages_for", "parsed_reply", "repair_message"]

Message = dict[str, Any]


def messages_for(facts: ImageFacts) -> list[Message]:
    """System and user message about an image; measured facts only, no identifier, age or sex."""
    prompts = _prompts()
    targets = [
        {
            "number": number,
            "label": target.label,
            "phrase": target.phrase,
            "share": percent_text(target, facts.size),
            "zone": zone_text(target, facts.size),
            "side": side_text(target, facts.orientation),
            "area_mm2": target.area_mm2,
        }
        for number, target in enumerate(facts.targets)
    ]
    content = {"modality": facts.modality, "targets": targets, "absent": list(facts.absent)}
    user = prompts["user"].format(facts=json.dumps(content, sort_keys=True, ensure_ascii=False))
    return [{"role": "system", "content": prompts["system"]}, {"role": "user", "content": user}]


def repair_message(problem: str) -> Message:
    """What is said to a model whose reply could not be used."""
    return {"role": "user", "content": _prompts()["repair"].format(problem=problem)}


def parsed_reply(text: str, facts: ImageFacts, annotator: str) -> tuple[Conversation, ...]:
    """The conversations of a reply; raises AnnotatorError saying what is wrong with it."""
    start, end = text.find("{"), text.rfind("}")
    try:
        rows = json.loads(text[start : end + 1])["conversations"]
        found = []
        for number, row in enumerate(rows):
            turns = tuple(
                turn_from_json({
                    "asked": [], "targets": [], "absent": [], "wording": f"model:{annotator}", **_known(turn),
                    "answer": repaired_answer(turn["answer"]), "standalone": False,
                })
                for turn in row["turns"]
            )  # fmt: skip
            found.append(Conversation(f"{facts.id}#{number}", annotator, turns))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotatorError(f"reply is not the JSON asked for: {error!r}") from error
    if not found:
        raise AnnotatorError("reply holds no conversation")
    faults = {fault.value for c in found for fault in check_conversation(c, facts, load_knowledge().labels)}
    if faults:
        raise AnnotatorError(f"reply breaks the rules: {', '.join(sorted(faults))}")
    return tuple(found)


def _known(turn: dict[str, Any]) -> dict[str, Any]:
    return {name: turn[name] for name in ("question", "kind", "asked", "targets", "absent") if name in turn}


def _prompts() -> dict[str, str]:
    path = files("inference.medseg_qa") / "prompts.yaml"
    prompts: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return prompts
