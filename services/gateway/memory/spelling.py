"""The words that searches are spelled by and the underlyings that have contracts, asked again from time to time."""

import asyncio

from services.gateway.domain.spelling import Vocabulary
from services.gateway.store import instruments
from services.gateway.store.rows import Database

ASK_AGAIN_S = 10.0


class Spelling:
    def __init__(self) -> None:
        self._vocabulary = Vocabulary()
        self._spelled_until = 0.0
        self._underlyings: list[str] = []
        self._listed_until = 0.0

    async def underlyings(self, database: Database) -> list[str]:
        now = asyncio.get_running_loop().time()
        if now >= self._listed_until:
            self._underlyings = await instruments.underlyings(database)
            self._listed_until = now + ASK_AGAIN_S
        return self._underlyings

    async def meant(self, database: Database, words: tuple[str, ...]) -> dict[str, list[str]]:
        """What to look for in the place of those words that begin nothing known."""
        vocabulary = await self._current(database)
        strange = [word for word in words if not vocabulary.begins_one(word.lower())]
        found = {word: vocabulary.meant_by(word.lower()) for word in strange}
        return {word: others for word, others in found.items() if others}

    async def _current(self, database: Database) -> Vocabulary:
        now = asyncio.get_running_loop().time()
        if now >= self._spelled_until:
            self._spelled_until = now + ASK_AGAIN_S
            if await instruments.count_words(database) != len(self._vocabulary):
                self._vocabulary = await asyncio.to_thread(Vocabulary, await instruments.words(database))
        return self._vocabulary
