"""`supervisord` that starts what died at once. By itself it looks for that once a second, and orders wait for it."""

from supervisor import supervisord


class AtOnce(supervisord.Supervisor):  # type: ignore[misc]
    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        """Learn who has died, and have their groups act on it now rather than after the next wait."""
        super().reap(once, recursionguard)
        if not recursionguard:
            for group in self.process_groups.values():
                group.transition()


if __name__ == "__main__":
    supervisord.Supervisor = AtOnce
    supervisord.main()
