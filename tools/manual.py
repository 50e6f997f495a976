#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prints a manual page, nadir(1) or nadir.cfg(5), or the completion for bash: made of what --help says, and
of the table of keys that the parser of nadir.cfg has (build/check_config --table)."""

import argparse
import re
import subprocess
import sys

from nadirlib import TOP, options

CFG_INTRODUCTION = """\
A configuration is text, UTF-8 or ASCII, of one section for each virtual machine, "[vm NAME]", and of at most one,
"[nadir]", for Nadir itself. In a section stand lines "key = value". A value may be in quotes of either kind, and there
is no way to write such a quote inside. A comment begins with # at the start of a line, or behind white space. File
names are relative to the configuration. Numbers are decimal, or begin with 0x. Each key stands once in a section, unless
it is repeatable."""


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def plain(cell):
    """A cell of the table without Markdown."""
    return cell.strip().replace("`", "").strip("*")


def table():
    """The rows of the table of keys: (key, value, default, help)."""
    done = subprocess.run([TOP / "build" / "check_config", "--table"], check=True, stdout=subprocess.PIPE, text=True)
    return [tuple(plain(cell) for cell in re.split(r"(?<!\\)\|", row)[1:5])
            for row in done.stdout.splitlines()[2:]]


def heading(name, section, what):
    # No date: the same text makes the same page.
    return (f'.TH {name.upper()} {section} "" "{options.version()}" "Nadir"\n.SH NAME\n{roff(name)} \\- {roff(what)}\n')


def words_of(action):
    """An option as it is written: `--cpus N`."""
    words = ", ".join(action.option_strings) or action.metavar
    value = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else "")
    return f"{words} {value}".strip() if action.option_strings and action.nargs != 0 else words


def items(pairs):
    return "".join(f".TP\n.B {roff(left)}\n{roff(right)}\n" for left, right in pairs)


def commands_of(parser):
    """{name: (its parser, what it does)}"""
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {choice.dest: (action.choices[choice.dest], choice.help) for choice in action._choices_actions}


def nadir_1():
    parser = options.make_parser()
    out = heading("nadir", 1, "run virtual machines in Nadir, in an emulator")
    out += ".SH SYNOPSIS\n"
    for name, (command, _) in commands_of(parser).items():
        usage = " ".join(command.format_usage().removeprefix("usage: ").split())
        out += f".B {roff('tools/' + usage)}\n.br\n"
    out += f".B {roff('tools/nadir --version')}\n.SH DESCRIPTION\n{roff(parser.description)}\n"
    for name, (command, what) in commands_of(parser).items():
        out += f".SS {roff(f'nadir {name}: {what}')}\n"
        for group in command._action_groups:
            if group.title.startswith("where"):
                out += f".PP\n{roff(group.title[0].upper() + group.title[1:])}:\n"
            out += items((words_of(a), a.help or "") for a in group._group_actions if a.dest != "help")
    out += ".SH EXIT STATUS\n" + items(options.STATUSES)
    out += ".SH WHAT A GUEST FINDS\n" + items(options.GUESTS)
    out += ".SH WHAT IS COUNTED\n" + items(options.COUNTS)
    out += ".SS With engine = pv\n" + items(options.COUNTS_PV)
    out += ".SS In the file of --stats, beside these\n" + items(options.COUNTS_JSON)
    out += ".SH ENVIRONMENT\n" + items(options.ENVIRONMENT)
    out += ".SH EXAMPLES\n" + items((f"tools/nadir {command}", what) for command, what in options.EXAMPLES)
    return out + ".SH SEE ALSO\n.BR nadir.cfg (5)\n"


def nadir_cfg_5():
    out = heading("nadir.cfg", 5, "which virtual machines Nadir runs")
    out += f".SH DESCRIPTION\n{roff(CFG_INTRODUCTION)}\n"
    for key, values, initial, what in table():
        if key.startswith("["):
            out += f".SH {roff(key)}\n{roff(what)}\n"
            continue
        out += f".TP\n.BI \"{roff(key)} = \" \"{roff(values)}\"\n{roff(what)}"
        out += f" (default: {roff(initial)})\n" if initial else "\n"
    return out + ".SH SEE ALSO\n.BR nadir (1)\n"


def completion():
    commands = commands_of(options.make_parser())
    words, values = [], []
    for name, (command, _) in commands.items():
        own = [word for action in command._actions for word in action.option_strings]
        words.append(f"    {name}) words='{' '.join(own)}' ;;")
        for action in command._actions:
            if action.choices and action.option_strings:
                values.append(f"    {'|'.join(action.option_strings)}) words='{' '.join(action.choices)}' ;;")
    nl = "\n"
    return f"""\
# Completion for bash of tools/nadir: `. build/nadir.bash`. Made by tools/manual.py.
_nadir() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W '{' '.join(commands)} --help --version' -- "$word"))
        return
    fi
    case $before in
{nl.join(sorted(set(values)))}
    *) case $word in -*) case ${{COMP_WORDS[1]}} in
{nl.join(words)}
    esac ;; esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _nadir nadir tools/nadir
"""


PAGES = {"nadir.1": nadir_1, "nadir.cfg.5": nadir_cfg_5, "nadir.bash": completion}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PAGES:
        sys.exit(f"usage: tools/manual.py {'|'.join(PAGES)}")
    sys.stdout.write(PAGES[sys.argv[1]]())
