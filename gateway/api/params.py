"""Path parameters."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends

from gateway.jobs.records import VideoNotFound

_VIDEO_ID = re.compile(r"video_[0-9a-z]{26}")


def checked_video_id(video_id: str) -> str:
    """The id, if it has the form of one; any other text never reaches SQL.

    Raises:
        VideoNotFound: as for an id of the right form that nobody has.
    """
    if not _VIDEO_ID.fullmatch(video_id):
        raise VideoNotFound(video_id)
    return video_id


async def _video_id(video_id: str) -> str:
    return checked_video_id(video_id)


VideoId = Annotated[str, Depends(_video_id)]
