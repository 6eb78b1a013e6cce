"""Judgments that were made once, shared by all runs of a machine and kept: one SQLite file.

SQLite itself rather than diskcache, which is SQLite with pickled values and with eviction: here values are a number or
a text, and a judgment that was paid for is never thrown away. Failed judgments are not kept, so that they are made
again; the verdict that an answer has no place on the scale is no failure, and is kept.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from idem_ray.errors import UserError
from idem_ray.judges.language.scoring import WORDS
from idem_ray.models import cache_folder
from idem_ray.records import Exchange, Judgment, content_hash

_TABLES = """
create table if not exists judgments (key text primary key, judge text not null, score real, missing text, made real);
create table if not exists calls (budget text primary key, n integer not null);
"""
_LOCK_TIMEOUT_SECONDS = 60


def cache_file() -> Path:
    """The file of this machine's judgments."""
    return cache_folder() / "judgments" / "judgments.sqlite"


class JudgmentCache:
    """Judgments by judge and exchange, and counts of calls. Safe among threads and among processes of one machine."""

    def __init__(self, file: Path | None = None) -> None:
        """`file` is made where it does not exist (None: this machine's).

        Raises:
            UserError: the file cannot be made, or is damaged.
        """
        self._file = file or cache_file()
        self._lock = threading.Lock()
        with self._telling():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._file, timeout=_LOCK_TIMEOUT_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._database.executescript(_TABLES)

    def get(self, judge: str, exchange: Exchange) -> Judgment | None:
        """The judgment that this judge has made, or None."""
        with self._lock, self._telling():
            row = self._database.execute(
                "select score, missing from judgments where key = ?", (_key(judge, exchange),)
            ).fetchone()
        return Judgment(*row) if row else None

    def put(self, judge: str, exchange: Exchange, judgment: Judgment) -> None:
        """Keep a judgment, unless it failed."""
        if judgment.score is None and judgment.missing not in WORDS.values():
            return
        row = (_key(judge, exchange), judge, judgment.score, judgment.missing, time.time())
        with self._lock, self._telling():
            self._database.execute("insert or replace into judgments values (?, ?, ?, ?, ?)", row)

    def count(self, judge: str) -> int:
        """Judgments that are kept of a judge."""
        with self._lock, self._telling():
            row = self._database.execute("select count(*) from judgments where judge = ?", (judge,)).fetchone()
        return int(row[0])

    def spend(self, budget: str, limit: int, n: int = 1) -> bool:
        """Count a call to a budget (n = -1: take it back), unless `limit` calls are spent already.

        Returns:
            whether it was counted.
        """
        with self._lock, self._telling():
            row = self._database.execute(
                "insert into calls values (?1, ?2) on conflict (budget) do update set n = n + ?2 "
                "where ?2 < 0 or n < ?3 returning n",
                (budget, n, limit),
            ).fetchone()
        return row is not None

    def spent(self, budget: str) -> int:
        """Calls that were counted to a budget."""
        with self._lock, self._telling():
            row = self._database.execute("select n from calls where budget = ?", (budget,)).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"The judgments kept in {self._file} cannot be used ({error}): remove the file if it is damaged, or "
                "set IDEM_RAY_CACHE to another folder."
            ) from error


def _key(judge: str, exchange: Exchange) -> str:
    return content_hash(json.dumps([judge, exchange.question, exchange.answer, exchange.finished]))
