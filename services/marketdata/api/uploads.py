"""Files that clients send: on disk while they are used, never in memory, never too long, never too many."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

from fastapi import Request

from libs.common.connections import allow
from libs.common.problems import Problem, file_too_large
from services.marketdata.settings import HistorySettings

AT_ONCE = 2
"""Per instance: what their files may take of the disk, and their rows of QuestDB, is bounded with them."""
_GATHERED = 1_048_576


class Uploads:
    def __init__(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def uploaded(self, request: Request) -> AsyncIterator[BinaryIO]:
        """The body as a file that has no name, so that even a killed process leaves nothing."""
        if self._places.locked():
            detail = f"{AT_ONCE} files are being imported; send yours again when one is done"
            raise Problem(429, "busy", detail, headers={"Retry-After": "5"})
        async with self._places:
            allow(request.scope, self._settings.import_s)
            file = await asyncio.to_thread(_new_file, self._settings.uploads)
            try:
                await self._receive(request, file)
                yield file
            finally:
                await asyncio.to_thread(file.close)

    async def _receive(self, request: Request, file: BinaryIO) -> None:
        taken, gathered = 0, bytearray()
        async for chunk in request.stream():
            taken += len(chunk)
            if taken > self._settings.import_bytes:
                raise file_too_large(self._settings.import_bytes)
            gathered += chunk
            if len(gathered) >= _GATHERED:
                await asyncio.to_thread(file.write, gathered)
                gathered = bytearray()
        await asyncio.to_thread(file.write, gathered)


def _new_file(folder: Path | None) -> BinaryIO:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
