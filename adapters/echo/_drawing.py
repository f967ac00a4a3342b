"""What a job asks echo to draw."""

from __future__ import annotations

from gateway.spec import Job, Size, Value


class Drawing(Value):
    """What to draw."""

    prompt: str
    seed: int
    size: Size
    frames: int
    fps: int


def drawing_of(job: Job) -> Drawing:
    """What a job orders. The frames are the nearest whole number, at least one; no seed means 0."""
    return Drawing(
        prompt=job.request.prompt,
        seed=job.request.seed or 0,
        size=job.output.size,
        frames=max(1, round(job.output.seconds * job.output.fps)),
        fps=job.output.fps,
    )


def first_frame_of(job: Job) -> bytes | None:
    """The encoded picture that came with the job."""
    image = job.request.image("first_frame")
    return job.read_image(image) if image else None
