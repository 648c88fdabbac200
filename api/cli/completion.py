"""The command `vfolder completion`: what a shell reads to complete the words of this command."""

import click
from click.shell_completion import get_completion_class

_NAME, _VARIABLE = "vfolder", "_VFOLDER_COMPLETE"
_SHELLS = {
    "bash": 'add to ~/.bashrc: eval "$(vfolder completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(vfolder completion zsh)"',
    "fish": "vfolder completion fish > ~/.config/fish/completions/vfolder.fish",
}


@click.command(epilog="\b\n" + "\n".join(_SHELLS.values()))
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the completion of commands, options and values for SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click has no completion for {shell}.")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, _NAME, _VARIABLE).source())
