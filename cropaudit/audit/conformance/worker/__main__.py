"""The process of the user's code: ``python -m cropaudit.audit.conformance.worker FOLDER PIPE``.

Reads ``request.json`` in the folder, and leaves ``contract.json`` and the observations there. The
file ``beat`` is touched before each call of the user's code, and dated ahead after it; on SIGUSR1
the stack goes to ``stacks.txt``, so that a hang can be told by its line.
"""

import json
import sys
from pathlib import Path


def main(folder: Path, reading: int) -> None:
    """Serves one request, for as long as whoever asked holds the other end of a pipe."""
    from cropaudit.audit.conformance.worker.janitor import keep_watch

    keep_watch(reading, folder)
    from cropaudit.audit.conformance.worker.serving import listen, serve

    beat = listen(folder)
    from cropaudit.audit.conformance.worker.request import read_request

    request = json.loads((folder / "request.json").read_text("utf-8"))
    subjects, claimed = read_request(request)
    serve(folder, beat, subjects, claimed, {})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
