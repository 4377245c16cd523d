"""The process of the user's code: ``python -m cropaudit.conformance.worker FOLDER PIPE``.

Reads ``request.json`` in the folder, and leaves ``contract.json`` and the observations there.
"""

import json
import sys
from pathlib import Path

from cropaudit.conformance.worker.request import read_request
from cropaudit.conformance.worker.serving import serve

if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    _request = json.loads((_folder / "request.json").read_text("utf-8"))
    serve(_folder, int(sys.argv[2]), *read_request(_request), {})
