"""Why a request was not accepted or a video could not be touched; nothing was charged in any of these but
the last."""

from __future__ import annotations

from gateway.spec import Plan


class JobError(Exception):
    """Base of what accepting and controlling videos may raise."""


class PlanRefused(JobError):
    """No way to serve the request was left; ``plan`` says why, way by way."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("nothing can serve this request")
        self.plan = plan


class OverBudget(PlanRefused):
    """What is left of the tenant's budget covers none of the ways that fit."""


class SandboxOff(JobError):
    """A key for test mode, on a gateway without a sandbox."""


class TierTooHigh(JobError):
    """The request names a tier above its tenant's, or one that does not exist."""

    def __init__(self, requested: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"tier {requested!r} is not open to this key; it may use: {', '.join(allowed)}")
        self.requested = requested
        self.allowed = allowed


class UnknownOptions(JobError):
    """The request has options for an adapter that is not installed."""

    def __init__(self, adapter: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no adapter is named {adapter!r}; options may be given for: {', '.join(known)}")
        self.adapter = adapter


class PromptRefused(JobError):
    """A screen of this deployment refused the prompt."""

    def __init__(self, screen: str, reason: str) -> None:
        super().__init__(f"the prompt was refused by the screen {screen!r}: {reason}")


class IdempotencyMismatch(JobError):
    """The key was used before with another body."""


class IdempotencyInFlight(JobError):
    """A request with this key is being accepted at this moment."""


class StillActive(JobError):
    """The video is not finished, so it cannot be deleted."""


class NotFinished(JobError):
    """The video is not finished, so there is nothing to continue yet."""


class NotAPreview(JobError):
    """The video was not made in mode preview, or it failed (``failed`` names the reason)."""

    def __init__(self, failed: str | None) -> None:
        super().__init__("it failed" if failed else "it is no preview")
        self.failed = failed


class NotContinuable(JobError):
    """The video is not a prefix preview that was completed; the text says what it is."""


class CheckpointMissing(JobError):
    """The state that a prefix preview kept has expired, or is gone from storage."""


class AcceptUnknown(JobError):
    """The database went away before it said whether the video was accepted: it may be made, or not."""

    def __init__(self, video_id: str) -> None:
        super().__init__(f"not known whether {video_id} is accepted")
        self.video_id = video_id
