"""Anatomy: what of a condition shows the part of the body, and where Body Part Examined decides without it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.protocols.conditions import AllOf, AnyOf, Condition, Count, Not, Present, Test
from workflows.protocols.fields import Anatomy, field_of

__all__ = ["body_parts_alone", "every_test", "is_body_part", "shows_anatomy"]


def body_parts_alone(condition: Condition, *, shown: bool = False) -> Iterator[Test]:
    """Tests of Body Part Examined that decide alone: no other test that must hold with them shows the anatomy.

    `shown`: something that must hold with all of `condition` shows it already. Under `not` every one is alone.
    """
    match condition:
        case Test():
            if is_body_part(condition) and not shown:
                yield condition
        case AllOf(conditions):
            for index, one in enumerate(conditions):
                others = (*conditions[:index], *conditions[index + 1 :])
                yield from body_parts_alone(one, shown=shown or any(shows_anatomy(other) for other in others))
        case AnyOf(conditions):
            alone = shown and len(conditions) == 1
            for one in conditions:
                yield from body_parts_alone(one, shown=alone)
        case Not(beneath):
            yield from (test for test in every_test(beneath) if is_body_part(test))
        case Count(beneath):
            yield from body_parts_alone(beneath)


def is_body_part(test: Test) -> bool:
    """Whether a test asks Body Part Examined, by its name or its keyword."""
    return _anatomy_of(test) is Anatomy.BODY_PART


def shows_anatomy(condition: Condition) -> bool:
    """Whether a condition, where it holds, says by a text or a code what part of the body there is."""
    match condition:
        case Test():
            says = any(not isinstance(check, Present) for check in condition.checks)
            return _anatomy_of(condition) is Anatomy.SHOWN and says and condition.if_missing is not True
        case AllOf(conditions):
            return any(shows_anatomy(one) for one in conditions)
        case AnyOf(conditions):
            return bool(conditions) and all(shows_anatomy(one) for one in conditions)
        case _:
            return False


def _anatomy_of(test: Test) -> Anatomy:
    field = field_of(test.field)
    return Anatomy.NO if field is None else field.anatomy


def every_test(condition: Condition) -> Iterator[Test]:
    """Every test of a condition, in its order."""
    match condition:
        case Test():
            yield condition
        case AllOf(conditions) | AnyOf(conditions):
            for one in conditions:
                yield from every_test(one)
        case Not(beneath) | Count(beneath):
            yield from every_test(beneath)
