"""Trouble, named for what the caller can do about it.

A job that a provider failed is a value (:class:`gateway.spec.Failed`); what stands here is an exception::

    ReelgateError
    ├── ProviderError              while speaking to a provider
    │   ├── Refused                a definite no; nothing was created, nothing is billed
    │   │   ├── BadRequest         this input is wrong
    │   │   ├── Unsupported *      this provider cannot do it
    │   │   ├── ContentBlocked     the provider's content rules say no
    │   │   ├── ModelGone *        the model is not to be had there any more
    │   │   ├── NotAuthorised *    our key was not accepted
    │   │   └── OutOfCredit *      our account there is empty
    │   ├── Unavailable *          not taken, try later
    │   │   └── RateLimited *      as above, with how long to wait
    │   ├── OutcomeUnknown         may have been taken: never resubmit blindly, never fall back
    │   └── UnexpectedReply        an answer outside the provider's own contract
    ├── RenderError *              a local render failed
    │   ├── OutOfMemory *          the clip does not fit the device
    │   └── BrokenModel *          the weights are missing, damaged or unsafe
    └── Cancelled                  stopped on request

(* = another candidate may be tried.) Each carries two texts: ``caller_detail`` may be shown to anyone,
``operator_detail`` only to the one who runs the gateway.
"""

from __future__ import annotations

import math
from typing import ClassVar


class ReelgateError(Exception):
    """Base of the contract's exceptions."""

    code: ClassVar[str] = "error"
    another_candidate: ClassVar[bool] = False

    def __init__(self, caller_detail: str, *, operator_detail: str = "") -> None:
        super().__init__(caller_detail)
        self.caller_detail = caller_detail
        self.operator_detail = operator_detail or caller_detail


class ProviderError(ReelgateError):
    """Trouble while speaking to a provider."""

    code = "provider_error"


class Refused(ProviderError):
    """The provider said no; nothing was created."""

    code = "refused"


class BadRequest(Refused):
    """The input is wrong for this provider."""

    code = "bad_request"


class Unsupported(Refused):
    """The provider cannot do what was asked."""

    code = "unsupported"
    another_candidate = True


class ContentBlocked(Refused):
    """The provider's content rules refused the input."""

    code = "content_blocked"


class ModelGone(Refused):
    """The provider no longer has the model; its offer is then passed over until a person looks at it."""

    code = "model_gone"
    another_candidate = True


class NotAuthorised(Refused):
    """The provider did not accept the gateway's credentials."""

    code = "not_authorised"
    another_candidate = True


class OutOfCredit(Refused):
    """The gateway's account at the provider has no credit left."""

    code = "out_of_credit"
    another_candidate = True


class Unavailable(ProviderError):
    """The provider did not take the job; the same call may work later."""

    code = "unavailable"
    another_candidate = True


LONGEST_WAIT_S = 86_400.0
"""A longer wish is taken for this."""


class RateLimited(Unavailable):
    """Too many calls; ``retry_after`` is the provider's wish in seconds, or None."""

    code = "rate_limited"

    def __init__(
        self, caller_detail: str, *, operator_detail: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(caller_detail, operator_detail=operator_detail)
        sane = retry_after is not None and 0 <= retry_after < math.inf  # false for what is no number, too
        self.retry_after = min(retry_after, LONGEST_WAIT_S) if sane and retry_after is not None else None


class OutcomeUnknown(ProviderError):
    """The job may or may not have been taken."""

    code = "outcome_unknown"


class UnexpectedReply(ProviderError):
    """The answer is outside the provider's contract."""

    code = "unexpected_reply"


class RenderError(ReelgateError):
    """A local render failed."""

    code = "render_failed"
    another_candidate = True


class OutOfMemory(RenderError):
    """The clip does not fit the device's memory."""

    code = "out_of_memory"


class BrokenModel(RenderError):
    """The model's weights are missing, damaged or unsafe to load."""

    code = "broken_model"


class Cancelled(ReelgateError):
    """The job was stopped on request."""

    code = "cancelled"
