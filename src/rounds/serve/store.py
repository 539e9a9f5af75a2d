"""The encrypted store: what was kept by consent, unreadable without its key and gone after its days.

Nothing is kept unless a server is started with a store. Each entry is one file, encrypted and authenticated by Fernet
(AES-128-CBC with HMAC-SHA256, https://cryptography.io/en/latest/fernet/), named by its day and a random number. Who
loses the key has lost the entries, which is also how to remove them from backups. Left out on purpose: a search, and
prompts of answers nobody judged.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rounds.files import create, unreadable, unwritable
from rounds.records import UserError

SUFFIX = ".sealed"
LONGEST_DAYS = 3650


class Store:
    """One directory of encrypted entries."""

    def __init__(self, directory: Path, key: Path, days: int) -> None:
        """Open or make the directory; a key that is not there is made, readable by its owner alone.

        Raises:
            UserError: an impossible number of days, a key that is none or that others may read, or no right to write.
        """
        from cryptography.fernet import Fernet

        if not 1 <= days <= LONGEST_DAYS:
            raise UserError(f"entries are to be kept {days} days; give 1 to {LONGEST_DAYS}.")
        self._directory = directory
        self._days = days
        self._lock = threading.Lock()
        self._swept: date | None = None
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                create(key, Fernet.generate_key(), 0o600)
        except OSError as error:
            raise unwritable(Path(error.filename or directory), error) from error
        try:
            if key.stat().st_mode & 0o077:
                raise UserError(f"{key}: may be read by others than its owner; chmod 600 it, and make a new store.")
            self._fernet = Fernet(key.read_bytes().strip())
        except OSError as error:
            raise unreadable(key, error) from error
        except ValueError as error:
            raise UserError(f"{key}: is not a key of a store; give the file that was made with it.") from error
        self.sweep()

    def put(self, kind: str, text: str) -> None:
        """Encrypt and write one entry, and remove what is too old; not for the event loop.

        Raises:
            UserError: it cannot be written.
        """
        today = datetime.now(UTC).date()
        path = self._directory / f"{today.isoformat()}-{kind}-{secrets.token_hex(8)}{SUFFIX}"
        sealed = self._fernet.encrypt(text.encode())
        partial = path.with_suffix(".partial")
        try:
            create(partial, sealed, 0o600)
            partial.rename(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise unwritable(self._directory, error) from error
        if self._swept != today:
            self.sweep()

    def entries(self) -> Iterator[tuple[str, str]]:
        """(file name, text) of every entry, oldest first.

        Raises:
            UserError: one cannot be read with this key.
        """
        from cryptography.fernet import InvalidToken

        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                yield path.name, self._fernet.decrypt(path.read_bytes()).decode()
            except InvalidToken as error:
                raise UserError(f"{path}: was sealed with another key, or changed; give its own key.") from error
            except OSError as error:
                raise unreadable(path, error) from error

    def sweep(self) -> int:
        """Remove what is older than its days; how many."""
        today = datetime.now(UTC).date()
        first = (today - timedelta(days=self._days)).isoformat()
        removed = 0
        with self._lock:
            for path in self._directory.glob(f"*{SUFFIX}"):
                if path.name[:10] < first:
                    with suppress(OSError):
                        path.unlink()
                        removed += 1
            self._swept = today
        return removed
