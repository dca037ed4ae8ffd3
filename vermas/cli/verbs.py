"""The table of verbs, and the help that is printed from it without loading any of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vermas.plugins import Installed

#: name → (section, `module:attribute` of the click command, what it does). The order is that of the help.
VERBS: dict[str, tuple[str, str, str]] = {
    "init": ("Set up", "vermas.cli.town:init", "Make a town: the directory that holds rigs, beads and polecats."),
    "rig": ("Set up", "vermas.cli.rig:rig", "Add, list, show and remove rigs (projects)."),
    "config": ("Set up", "vermas.cli.config:config", "Show, get, set and explain the configuration."),
    "doctor": ("Set up", "vermas.cli.doctor:doctor", "Check the town and mend what is safe to mend."),
    "plugins": ("Set up", "vermas.cli.plugins:plugins", "List plugins and the hooks they implement."),
    "plugin": ("Set up", "vermas.cli.plugins:plugin", "Write a new plugin."),
    "bead": ("Work", "vermas.cli.bead:bead", "Create, list, change, import and export beads (issues)."),
    "run": ("Work", "vermas.cli.run:run", "Drive ready beads to landed commits."),
    "sling": ("Work", "vermas.cli.run:sling", "Spawn one polecat on one bead and return."),
    "demo": ("Work", "vermas.cli.demo:demo", "Watch eight beads land in a temporary town, without network or model."),
    "polecat": ("Watch", "vermas.cli.polecat:polecat", "List, watch, message, stop and restart polecats (workers)."),
    "status": ("Watch", "vermas.cli.status:status", "Show what is running, waiting and landed."),
    "log": ("Watch", "vermas.cli.status:log", "Show the town's events."),
    "why": ("Watch", "vermas.cli.status:why", "Show the events behind a polecat's or bead's present state."),
    "prime": ("In a session", "vermas.cli.app:prime", "Print what the agent should know."),
    "assignment": ("In a session", "vermas.cli.app:assignment", "Print the bead as JSON."),
    "done": ("In a session", "vermas.cli.app:done", "Submit the committed work and end."),
    "handoff": ("In a session", "vermas.cli.app:handoff", "Save a message and go on in a new session."),
    "signal": ("In a session", "vermas.cli.app:signal", "Report an event of the agent."),
}

#: Groups that may be abbreviated.
NOUNS = ("bead", "config", "plugin", "plugins", "polecat", "rig")

EXIT_CODES: dict[int, str] = {
    0: "done; for run: every chosen bead landed or was closed",
    1: "failed",
    2: "the command line is wrong",
    3: "the configuration is wrong",
    4: "something named does not exist",
    5: "a plugin is missing, broken or misbehaves",
    6: "git failed",
    7: "the town's database cannot be read or written",
    8: "the present state does not allow it",
    9: "run ended with beads that did not land",
    75: "another process holds the lock; try again",
    130: "interrupted",
}

ENVIRONMENT: dict[str, str] = {
    "VERMAS_TOWN": "the town to use when --town is not given",
    "XDG_RUNTIME_DIR, TMPDIR": "where the town's sockets go",
    "XDG_CACHE_HOME": "where the list of installed plugins is remembered",
    "NO_COLOR": "no colours on a terminal",
    "VERMAS_RIG, VERMAS_BEAD": "in a session: its rig and bead (BEAD_ID says the same)",
    "VERMAS_POLECAT": "in a session: the polecat's id (BD_ACTOR is its address)",
    "VERMAS_SESSION_NO": "in a session: its number, counted from 1 for each polecat",
    "VERMAS_PROMPT_FILE": "in a session: the file with the first prompt",
    "VERMAS_TOKEN_FILE": "in a session: the file with the token that its verbs present",
}

OPTIONS: dict[str, str] = {
    "-C, --town DIR": "the town (default: VERMAS_TOWN, else the one around here)",
    "--version": "print the version",
    "-h, --help": "print this; after a command: its help",
}


def plugin_verbs() -> dict[str, Installed]:
    """The verbs that installed plugins bring, except those that would hide one of ours. Nothing of theirs is imported."""
    from vermas.plugins import catalog

    found: dict[str, Installed] = {}
    for entry in catalog().commands():
        if entry.name not in VERBS:
            found.setdefault(entry.name, entry)
    return found


def help_text() -> str:
    sections: dict[str, dict[str, str]] = {}
    for name, (section, _, text) in VERBS.items():
        sections.setdefault(section, {})[name] = text
    theirs = {name: f"({entry.distribution})" for name, entry in sorted(plugin_verbs().items())}
    if theirs:
        sections["From plugins"] = theirs
    codes = {str(code): text for code, text in EXIT_CODES.items()}
    blocks = [
        "Usage: vermas [OPTIONS] COMMAND [ARGS]...\n\n  pytest for fleets of coding agents: ready beads in, landed commits out.",
        *(_block(title, rows) for title, rows in sections.items()),
        _block("Options", OPTIONS),
        _block("Exit codes", codes),
        _block("Environment", ENVIRONMENT),
        "Nouns (bead, rig, polecat, …) may be abbreviated as long as nothing else begins like it. `vermas COMMAND --help` says more.",
    ]
    return "\n\n".join(blocks)


def _block(title: str, rows: dict[str, str]) -> str:
    width = max(len(name) for name in rows)
    return "\n".join([f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in rows.items())])
