"""Every settings class of the platform, for whoever lists or checks them all."""

from __future__ import annotations

from deploy.settings import EmbeddedSettings
from libs.blobs.settings import BlobSettings
from libs.events.settings import EventSettings, LaneSettings
from libs.rpc.settings import RpcSettings
from libs.settings import Settings
from libs.telemetry.setup import TelemetrySettings
from services.guard.settings import GuardSettings
from services.gui.environments.settings import BrowserSettings
from services.gui.settings import GuiSettings
from services.memory.settings import MemorySettings
from services.planner.settings import ModelSettings, PlannerSettings
from services.recorder.settings import RecorderSettings
from services.session.settings import SessionSettings

SETTINGS: tuple[type[Settings], ...] = (
    RpcSettings,
    EmbeddedSettings,
    SessionSettings,
    EventSettings,
    LaneSettings,
    BlobSettings,
    TelemetrySettings,
    PlannerSettings,
    ModelSettings,
    MemorySettings,
    GuardSettings,
    GuiSettings,
    BrowserSettings,
    RecorderSettings,
)
