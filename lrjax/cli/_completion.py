"""Completion scripts for shells: commands, options and choices; where those end, the names of files."""

import re
from collections.abc import Callable, Mapping, Sequence

from ._page import Option, summary_of

Options = Mapping[str, Sequence[Option]]
"""Command -> its options."""

BASH = """\
_lrjax() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  if ((COMP_CWORD == 1)); then
    words="{commands} --help --version --print-completion"
  elif [[ $word == -* ]]; then
    case ${{COMP_WORDS[1]}} in
{options}
    esac
  else
    case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _lrjax lrjax
"""

ZSH = """\
#compdef lrjax
_lrjax() {{
  local -a commands=({commands})
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{options}
  esac
}}
if [[ $funcstack[1] == _lrjax ]]; then _lrjax "$@"; else compdef _lrjax lrjax; fi
"""


def completion(shell: str, commands: Mapping[str, type], options: Options) -> str:
    """The script of a shell.

    Args:
      shell: a key of `SHELLS`.
      commands: name -> the command's class.
      options: name -> its options.
    """
    return SHELLS[shell]({name: summary_of(command) for name, command in commands.items()}, options).rstrip()


def _bash(commands: Mapping[str, str], options: Options) -> str:
    cases, choices = [], []
    for name, several in options.items():
        cases.append(f'      {name}) words="{" ".join(one.name for one in several if one.name)} --help" ;;')
        choices += [f'      "{name} {one.name}") words="{" ".join(one.choices)}" ;;' for one in several if one.choices]
    return BASH.format(commands=" ".join(commands), options="\n".join(cases), choices="\n".join(choices))


def _zsh(commands: Mapping[str, str], options: Options) -> str:
    described = " ".join(f"'{name}:{_plain(text)}'" for name, text in commands.items())
    cases = []
    for name, several in options.items():
        specs = " ".join(_zsh_option(one) for one in several if one.name)
        cases.append(f"    {name}) _arguments {specs} '*:file:_files' ;;")
    return ZSH.format(commands=described, options="\n".join(cases))


def _zsh_option(option: Option) -> str:
    words = f"({' '.join(option.choices)})" if option.choices else "_files"
    value = f":{_plain(option.metavar)}:{words}" if option.metavar else ""
    return f"'*{option.name}[{_plain(option.text)}]{value}'"


def _fish(commands: Mapping[str, str], options: Options) -> str:
    lines = [
        f"complete -c lrjax -n __fish_use_subcommand -f -a {name} -d '{_plain(commands[name])}'" for name in commands
    ]
    for name, several in options.items():
        for one in several:
            if one.name:
                value = f" -x -a '{' '.join(one.choices)}'" if one.choices else " -r" if one.metavar else ""
                where = f"-n '__fish_seen_subcommand_from {name}'"
                lines.append(f"complete -c lrjax {where} -l {one.name[2:]}{value} -d '{_plain(one.text)}'")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """The first sentence, without what has a meaning to a shell."""
    return re.sub(r"[^\w .,%/=|*+-]", "", text.split(". ")[0]).rstrip(".")


SHELLS: dict[str, Callable[[Mapping[str, str], Options], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
