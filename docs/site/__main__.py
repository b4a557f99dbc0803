"""Build the site: ``python -m docs.site [FOLDER]``, or ``make site``.

The pages are written to ``build/site`` as plain Markdown first; MkDocs makes HTML of them. Whatever
it warns of, and whatever a page would load from elsewhere, ends the build with an error.
"""

from __future__ import annotations

import sys

from docs.site.build import main

sys.exit(main(sys.argv[1:]))
