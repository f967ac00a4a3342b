"""An adapter for the provider of test clips."""

from __future__ import annotations

from typing import ClassVar

from pydantic import SecretStr
from typing_extensions import override

from gateway.kit.http import client, json_object, translating
from gateway.kit.options import read_options, read_settings
from gateway.spec import (
    Failed,
    Job,
    OutcomeUnknown,
    PluginContext,
    Queued,
    RemoteAdapter,
    Running,
    Snapshot,
    Stopped,
    Succeeded,
    Ticket,
    Value,
)


class ToySettings(Value):
    base_url: str
    api_key: SecretStr


class ToyOptions(Value):
    pass


class Toy(RemoteAdapter):
    name: ClassVar[str] = "toy"

    def __init__(self, context: PluginContext) -> None:
        settings = read_settings(context, "toy", ToySettings)
        headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}
        self._client = client(base_url=settings.base_url, headers=headers, connect_s=5, read_s=5)

    @override
    async def submit(self, job: Job) -> Ticket:
        read_options(job, ToyOptions)
        width, height = job.output.size.split("x")
        order = {
            "prompt": job.request.prompt,
            "width": int(width),
            "height": int(height),
            "seconds": str(job.output.seconds),
            "fps": job.output.fps,
            "audio": job.output.audio,
            "tag": job.tag,
        }
        with translating("Toy", creating=True):
            reply = json_object(await self._client.post("/jobs", json=order))
        return Ticket(id=reply["id"])

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        with translating("Toy", creating=False):
            reply = json_object(await self._client.get(f"/jobs/{ticket.id}"))
        match reply["state"]:
            case "queued":
                return Queued()
            case "succeeded":
                return Succeeded(url=reply["url"])
            case "failed":
                return Failed(code=reply["why"], message="Toy failed.")
            case "cancelled":
                return Stopped()
            case _:
                return Running(progress=reply.get("percent"))

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        with translating("Toy", creating=False):
            return json_object(await self._client.delete(f"/jobs/{ticket.id}"))["stopped"] is True

    async def lookup(self, job: Job) -> Ticket | None:
        with translating("Toy", creating=False):
            found = json_object(await self._client.get("/jobs", params={"tag": job.tag}))["jobs"]
        if len(found) > 1:
            raise OutcomeUnknown("more than one")
        return Ticket(id=found[0]["id"]) if found else None

    @override
    async def aclose(self) -> None:
        await self._client.aclose()
