"""Text of Debian packages for the examples: fetched by apt when a package is named, never kept in the project."""

import re
import subprocess
import tempfile
from pathlib import Path

from local_text import UsageError, manual_page, read_text, scattered

TEXT = re.compile(r".*(\.(txt|rst|md|pod|tex)|/man\d/[^/]+)(\.gz)?")
NOT_TEXT = re.compile(r".*/(changelog|copyright|news)[^/]*", re.I)


def package_text(name: str):
    """Texts of a package: plain, reStructuredText, Markdown, pod and manual pages.

    apt-get downloads it into a folder that is deleted afterwards; nothing is installed and no root is needed. The
    licence is that of the package, see its usr/share/doc/NAME/copyright.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
        raise UsageError(f"apt:{name}: the name of a Debian package is accepted, as apt:manpages-de")
    with tempfile.TemporaryDirectory(prefix="continual-pretraining-") as folder:
        for command in (["apt-get", "download", name], ["sh", "-c", "dpkg-deb -x *.deb unpacked"]):
            try:
                ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            except OSError as error:
                raise UsageError(
                    f"apt:{name}: {error}; apt: names need a Debian or Ubuntu machine, folders work anywhere"
                ) from error
            if ended.returncode:
                reason = (ended.stderr.strip() or ended.stdout.strip() or "no reason given").splitlines()[-1]
                raise UsageError(f"apt:{name}: {command[0]} failed: {reason} (apt-get update may be needed)")
        root = Path(folder, "unpacked")
        found = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
        found = [p for p in found if TEXT.fullmatch(str(p).lower()) and not NOT_TEXT.fullmatch(str(p))]
        for path in scattered(found, root):
            text = read_text(path)
            yield f"apt:{name}", manual_page(text) if re.search(r"/man\d/", str(path)) else text
