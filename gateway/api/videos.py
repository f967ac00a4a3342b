"""Creating, planning, reading, cancelling, remixing and deleting videos."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.errors import ApiError, plan_refused
from gateway.api.forms import Form, read_form
from gateway.api.pictures import check_images
from gateway.api.schemas import CREATE_BODY, REMIX_BODY, DeletedVideo, VideoList
from gateway.api.video_object import Video, poll_after_ms, video_object
from gateway.api.wire import read_create, read_remix
from gateway.db.keys import Caller
from gateway.jobs.accept import Accepted, Idempotency, accept, dry_run
from gateway.jobs.control import cancel_video, delete_video
from gateway.jobs.errors import PlanRefused
from gateway.jobs.records import VideoNotFound, VideoRecord, get_video, list_videos, queue_place
from gateway.jobs.runtime import Runtime
from gateway.media import Missing
from gateway.spec import Plan, VideoRequest
