"""What doctor looks at in each archive: is it there, and does it take and give what the settings ask of it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from dicom_node.errors import PeerError
from dicom_node.identifiers import derived_uid
from dicom_node.network.archive import open_archive
from dicom_node.network.contexts import STORAGE_COMMITMENT
from dicom_node.network.negotiation import accepted_classes, class_name
from dicom_node.network.orthanc import orthanc_version
from dicom_node.network.storage_scu import Timeouts, echo
from dicom_node.results.profiles import SOP_CLASSES, Profile, ResultKind, kinds_of, profile_without
from workflows.bootstrap import address_of
from workflows.commands.checks import Check, Outcome, Warned, run_check
from workflows.errors import SettingsError
from workflows.settings import ArchiveSettings, Settings
from workflows.settings.sections import Delivery, Supersede

__all__ = ["check_archive"]

_BRIEF = Timeouts(connection_s=5, acse_s=10, dimse_s=20, network_s=20)


def check_archive(archive: ArchiveSettings, settings: Settings) -> Iterator[Check]:
    """A check for each thing that the settings ask of an archive. What is not there is asked nothing more."""
    name = f"archive {archive.name}"
    there = run_check(name, partial(_there, archive, settings))
    yield there
    if settings.profile_of(archive) is Profile.AIR:
        yield run_check(f"{name} profile", _blank_in_ohif)
    if there.outcome is Outcome.OK:
        yield from _dimse_checks(name, archive, settings)
    if archive.dicomweb_url:
        yield run_check(f"{name} DICOMweb", partial(_query, archive, settings))
    if archive.orthanc_url:
        yield run_check(f"{name} Orthanc", lambda: f"Orthanc {orthanc_version(address_of(archive))} answers")


def _dimse_checks(name: str, archive: ArchiveSettings, settings: Settings) -> Iterator[Check]:
    checks: dict[str, Callable[[], str]] = {}
    if archive.delivery is Delivery.C_STORE:
        checks["classes"] = partial(_classes, archive, settings)
    if not archive.dicomweb_url:
        checks["query"] = partial(_query, archive, settings)
    if archive.commitment:
        checks["commitment"] = partial(_commitment, archive, settings)
    for what, check in checks.items():
        yield run_check(f"{name} {what}", check)


def _there(archive: ArchiveSettings, settings: Settings) -> str:
    peer = address_of(archive).peer
    try:
        echo(peer, settings.node.ae_title, timeouts=_BRIEF)
    except PeerError as error:
        if archive.delivery is Delivery.STOW_RS and not archive.commitment:
            raise Warned(f"{error}; results go there by STOW-RS, which does not need it") from error
        raise SettingsError(f"{error}; start it, or check [[archives]] ae_title, host and port") from error
    return f"{peer} answers C-ECHO"


def _blank_in_ohif() -> str:
    raise Warned('air: OHIF 3.13 shows a blank report: set profile = "ohif" for an archive that people open with OHIF')


def _classes(archive: ArchiveSettings, settings: Settings) -> str:
    """Whether the archive takes every class that it would be sent."""
    profile, wishes = settings.profile_of(archive), settings.wishes_of(archive)
    kinds = kinds_of(profile, wishes, seen=True) | kinds_of(profile, wishes, seen=False)
    if archive.supersede is Supersede.KOS:
        kinds |= {ResultKind.REJECTION_NOTE}
    wanted = {sop_class for kind in kinds for sop_class in SOP_CLASSES[kind]}
    taken = accepted_classes(address_of(archive).peer, settings.node.ae_title, wanted, timeouts=_BRIEF)
    refused = [
        f"{class_name(sop_class)} is refused: allow it there, or {_remedy(kind)}"
        for kind in sorted(kinds, key=lambda one: one.value)
        for sop_class in sorted(SOP_CLASSES[kind] - taken)
    ]
    if refused:
        raise SettingsError("; ".join(refused))
    return f"{len(wanted)} SOP classes of profile {profile.value} are taken"


def _remedy(kind: ResultKind) -> str:
    match kind:
        case ResultKind.DOCUMENT | ResultKind.KEY_OBJECTS | ResultKind.PRESENTATION_STATE:
            return "take it out of `also`"
        case ResultKind.CAPTURE:
            return 'set captures = "single-frame"'
        case ResultKind.REJECTION_NOTE:
            return 'set supersede = "delete" or "none"'
    other = profile_without(kind)
    return "choose another profile" if other is None else f'set profile = "{other.value}"'


def _query(archive: ArchiveSettings, settings: Settings) -> str:
    """Whether a query is answered: for a study that nobody has."""
    open_archive(address_of(archive), settings.node.ae_title, timeouts=_BRIEF).studies(study_uid=derived_uid("doctor"))
    return f"{archive.dicomweb_url} answers QIDO-RS" if archive.dicomweb_url else "C-FIND is answered"


def _commitment(archive: ArchiveSettings, settings: Settings) -> str:
    peer = address_of(archive).peer
    if not accepted_classes(peer, settings.node.ae_title, [STORAGE_COMMITMENT], timeouts=_BRIEF):
        raise SettingsError("storage commitment is refused: turn it on there, or set commitment = false")
    return "storage commitment is offered"
