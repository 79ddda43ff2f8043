"""Maintains one user list: "User lists" in chapter 8 of docs/protocol.md."""


class UserList:
    """A user list of the chat or of a channel."""

    def __init__(self):
        self.users = {}  # {user id: name}
        self.head_count = 0
        self.is_complete = False
        self.version = 0
        self._again = False
        # `after` of the page that was requested last. The server sends the first page by itself.
        self._after = 0

    def take(self, packet):
        """Applies a packet of the list. Returns `after` of the page to request now, or None."""
        if packet.packet == "UserList":
            return self._take_page(packet)
        return self._take_notice(packet)

    def _take_page(self, page):
        if self._after == 0:
            self.version, self._again = page.version, False
        upto = page.users[-1].id if page.more else float("inf")
        self.users = {id: name for id, name in self.users.items() if not self._after < id <= upto}
        self.users.update((user.id, user.name) for user in page.users)
        self.head_count = page.head_count
        if page.more:
            self._after = upto
        elif self._again:
            self._after = 0
        else:
            self._after, self.is_complete = None, True
        return self._after

    def _take_notice(self, notice):
        if notice.version <= self.version:
            return None  # the pages include it
        self.users.update((user.id, user.name) for user in notice.entered)
        for user in notice.left:
            self.users.pop(user, None)
        self.head_count = notice.head_count
        if notice.since > self.version or not notice.complete:
            self.is_complete, self._again = False, True
        self.version = notice.version
        if self._again and self._after is None:
            self._after = 0  # one client among thousands should wait a little before
            return 0
        return None
