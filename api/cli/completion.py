"""The command `vfolder completion`: what a shell reads to complete the words of this command."""

import os
import re
from typing import Any, ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

_NAME, _VARIABLE = "vfolder", "_VFOLDER_COMPLETE"
_SHELLS = {
    "bash": 'add to ~/.bashrc: eval "$(vfolder completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(vfolder completion zsh)"',
    "fish": "vfolder completion fish > ~/.config/fish/completions/vfolder.fish",
}
#: Characters that bash takes for something else than themselves.
_SPECIAL = re.compile(r"([^\w@%+=:,./-])")
_BASH = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} cur=${COMP_WORDS[COMP_CWORD]} trim= files= type value
    [[ $COMP_WORDBREAKS == *:* ]] && trim=1
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            file) files=-f ;;
            dir) files=-d ;;
        esac
    done < <(env COMP_LINE="$line" COMP_TRIM=$trim %(complete_var)s=bash_complete "$1")
    if [[ $files ]]; then
        if [[ ${#COMPREPLY[@]} == 0 ]]; then compopt -o filenames; fi
        while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen $files -- "$cur")
    fi
    if [[ ${COMPREPLY[0]} == *[:/] ]]; then compopt -o nospace; fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Completion for bash, whose own words end at colons: it gets the line, not the words."""

    source_template: ClassVar[str] = _BASH
    _incomplete = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words of the line, and the one that is being written."""
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        _, *words = split_arg_string(line)
        ended = line[-1:].isspace() and not line.endswith("\\ ")
        self._incomplete = "" if ended or not words else words.pop()
        return words, self._incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a completion without what bash takes for words before it."""
        value = str(item.value)
        if item.type == "plain" and os.environ.get("COMP_TRIM"):
            head, colon, _ = self._incomplete.rpartition(":")
            value = value.removeprefix(f"{head}{colon}")
        quoted = _SPECIAL.sub(r"\\\1", value)
        return f"{item.type},{quoted}"


add_completion_class(_Bash)


@click.command(epilog="\b\n" + "\n".join(_SHELLS.values()))
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the completion of commands, options, values and remote names for SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click has no completion for {shell}.")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, _NAME, _VARIABLE).source())
