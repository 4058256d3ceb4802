"""Why Headroom cannot start, as a sentence with what to do."""

import errno


class CannotStart(Exception):
    """Shown to the person at the terminal as it is; the exit status is 2."""


def disk_sentence(place: object) -> str:
    return f"The disk below {place} is full. Free some space (Headroom wants 300 MB at least), then start again; nothing stored is lost."


def from_os_error(error: OSError, *, place: object) -> CannotStart:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotStart(disk_sentence(place))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CannotStart(f"{error.filename or place} may not be written ({error.strerror}). Set HEADROOM_DATA to a folder of yours.")
    return CannotStart(f"{error.strerror or error} ({error.filename or place}).")


def last_lines(output: bytes, lines: int = 12) -> str:
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-lines:])
