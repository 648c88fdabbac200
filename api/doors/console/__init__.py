"""The console in the browser: its built files, served by the client door. It knows no data.

`app/` is the source, `dist/` what `make console` builds of it (docs/console.md).
"""

from api.doors.console.routes import blueprint, built_file, ticket_page

__all__ = ["blueprint", "built_file", "ticket_page"]
