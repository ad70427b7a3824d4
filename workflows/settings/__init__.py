"""Settings: typed, described, frozen, read once and passed down. The only reader of environment and files."""

from workflows.settings.load import load_settings
from workflows.settings.pages import AuditSettings, OidcSettings, SyslogSettings, WebSettings
from workflows.settings.sections import (
    CHECKOUT,
    COMMISSIONING,
    ArchiveSettings,
    BrokerSettings,
    DatabaseSettings,
    Delivery,
    LimitsSettings,
    ModelSettings,
    NodeSettings,
    PeerSettings,
    PredictorSettings,
    ProtocolsSettings,
    ResultsSettings,
    RetentionSettings,
    Settings,
    Supersede,
)

__all__ = [
    "CHECKOUT", "COMMISSIONING", "ArchiveSettings", "AuditSettings", "BrokerSettings", "DatabaseSettings", "Delivery",
    "LimitsSettings", "ModelSettings", "NodeSettings", "OidcSettings", "PeerSettings", "PredictorSettings",
    "ProtocolsSettings", "ResultsSettings", "RetentionSettings", "Settings", "Supersede", "SyslogSettings",
    "WebSettings", "load_settings",
]  # fmt: skip
