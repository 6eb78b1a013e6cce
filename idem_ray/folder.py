"""A folder of small files, local or in object storage, through pyarrow.fs. Files appear whole or not at all."""

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from idem_ray.errors import UserError

N_READERS = 16
"""Files or folders that are read at a time in object storage, where every look takes a trip over the network."""


class Folder:
    """Cheap to make, and safe to send to other processes."""

    def __init__(self, uri: str) -> None:
        """
        Args:
            uri: a local folder, or an object-store prefix such as s3://bucket/prefix (pyarrow's own schemes).

        Raises:
            UserError: there is no such scheme, or it cannot be reached.
        """
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().absolute())
        try:
            self._fs, self._root = pafs.FileSystem.from_uri(self.uri)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"Cannot use '{self.uri}' as a folder: {error}.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.uri,)

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path or URI of something in the folder, for showing."""
        return f"{self.uri}/{name}"

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file that appears whole or not at all.

        Raises:
            UserError: no permission, or no space left.
        """
        target = f"{self._root}/{name}"
        try:
            if not self.is_local:  # an object appears when its upload is complete
                with self._fs.open_output_stream(target) as stream:
                    stream.write(data)
                return
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            partial = Path(f"{target}.{uuid.uuid4().hex[:8]}.partial")
            try:
                with partial.open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"Cannot write {self.path(name)}: {error.strerror or error}.") from error

    def write_json(self, name: str, data: Any) -> None:
        """Write JSON as `write_bytes` does.

        Raises:
            ValueError: it holds a number that is none (NaN, infinity): what is missing is None.
        """
        self.write_bytes(name, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False).encode())

    def read_json(self, name: str) -> Any | None:
        """The content of a JSON file, or None when there is none.

        Raises:
            UserError: the file is damaged.
        """
        if not self.exists(name):
            return None
        with self._fs.open_input_stream(f"{self._root}/{name}") as stream:
            data = stream.read()
        try:
            return json.loads(data)
        except ValueError as error:
            raise UserError(f"{self.path(name)} is damaged ({error}): remove it, or restore it from a copy.") from error

    def exists(self, name: str) -> bool:
        return bool(self._fs.get_file_info(f"{self._root}/{name}").type != pafs.FileType.NotFound)

    def written_at(self, name: str) -> float | None:
        """When a file was last written, in seconds since the epoch; None where the file system does not say."""
        found = self._fs.get_file_info(f"{self._root}/{name}").mtime_ns
        return None if found is None else float(found / 1e9)

    def delete(self, name: str) -> None:
        """Delete a file."""
        self._fs.delete_file(f"{self._root}/{name}")

    def check_writable(self, needed_bytes: int = 0) -> None:
        """Find out now, not after an hour, that nothing can be written.

        Raises:
            UserError: no permission, or less than `needed_bytes` free on a local disk.
        """
        probe = f".write-test-{uuid.uuid4().hex[:8]}"
        self.write_bytes(probe, b"")
        self.delete(probe)
        if self.is_local:
            free = shutil.disk_usage(self._root).free
            if free < needed_bytes:
                raise UserError(
                    f"The disk of {self.uri} has {free / 1e9:.1f} GB free, and the run needs about "
                    f"{needed_bytes / 1e9:.1f} GB: free some, or set 'output' to another disk."
                )

    def folders(self) -> list[str]:
        """Names of the folders right below this one."""
        inside = self._fs.get_file_info(pafs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.base_name for info in inside if info.type == pafs.FileType.Directory)

    def files(self, folder: str, suffix: str) -> list[str]:
        """Full paths, for the file system, of the files right in a folder whose names end in the suffix."""
        selector = pafs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        return sorted(info.path for info in self._fs.get_file_info(selector) if info.path.endswith(suffix))
