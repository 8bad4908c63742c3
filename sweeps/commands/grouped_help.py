"""The help of the command line: commands by what they are for."""

from typing import Any

import typer.core


class GroupedHelp(typer.core.TyperGroup):
    """Lists commands under the panels that they are registered with."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes a section for each panel."""
        width = max(map(len, self.commands))
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.commands[name]
            panels.setdefault(command.rich_help_panel, []).append((name.ljust(width), command.get_short_help_str(200)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)
